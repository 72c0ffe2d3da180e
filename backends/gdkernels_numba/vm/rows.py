"""The work of a piece on a tile, which is some rows of the batch, forward and back."""

from gdkernels_numba.ir.format import GRANULE, LINE, PANEL_BYTES
from gdkernels_numba.vm.blocks import run_blocks
from gdkernels_numba.vm.context import address, terms, terms_at_once, vectors
from gdkernels_numba.vm.fields import WORD
from gdkernels_numba.vm.instructions import (
    ADD_TILE_GRADIENT,
    ADD_TILE_SUMS,
    BARRIER,
    COPY_COLUMNS,
    DOT_ROWS,
    END,
    FOR_BLOCKS,
    GATHER_COLUMN,
    GATHER_PANELS,
    HEADER,
    LAST_MOVE,
    LOOP_OVER_COLUMN,
    LOOP_OVER_TILE,
    MULTIPLY_TILE,
    PACK_TILE,
    SCATTER_ROWS,
)
from gdkernels_numba.vm.intrinsics import call, load_atomic, word
from gdkernels_numba.vm.shared_words import COUNT_BITS
from gdkernels_numba.vm.tape import MOVE_ON_ROWS, issue, issue_loop, note
from gdkernels_numba.vm.thread_context import CONTEXT

__all__ = ["move_on_rows", "run_on_rows"]


def run_loop(context: int, i: int, row: int, rows: int, panel: int) -> None:
    """Run the loop at `i` on one panel of a tile."""
    at, width = LOOP_OVER_TILE.at, word(context, CONTEXT.panel)
    columns = min(width, word(i, at.columns) - panel * width)
    operands, count, first = i + WORD * LOOP_OVER_TILE.size, word(i, at.operands), 1 if panel == 0 else 0
    issue_loop(context, word(i, at.kernel), rows, columns, word(i, at.pitch), operands, count, row, panel, first)


def run_pack(context: int, i: int, row: int, rows: int, panel: int) -> None:
    """Write the forms of one panel of a tile that products need."""
    at, width = PACK_TILE.at, word(context, CONTEXT.panel)
    columns = min(width, word(i, at.columns) - panel * width)
    source = address(i, at.source, row, panel)
    # A panel of the value is so many panels of the form left, and so many lines of the form transposed.
    left = address(i, at.left, row, panel * (width // GRANULE)) if word(i, at.left.base) else 0
    right = address(i, at.right, row, panel) if word(i, at.right.base) else 0
    transposed = 0
    if word(i, at.transposed.base):
        transposed = address(i, at.transposed, row, 0) + panel * width * LINE
    left_panel, right_pitch, transposed_panel = (
        word(i, at.left.across),
        word(i, at.right_pitch),
        word(i, at.transposed.across),
    )
    issue(
        context,
        word(i, at.kernel),
        (
            rows, columns, source, word(i, at.pitch),
            left, left_panel, right, right_pitch, transposed, transposed_panel,
        ),
    )  # fmt: skip


def run_on_panel(context: int, i: int, row: int, rows: int, panel: int) -> None:
    if word(i, HEADER.opcode) == LOOP_OVER_TILE.opcode:
        run_loop(context, i, row, rows, panel)
    else:
        run_pack(context, i, row, rows, panel)


def run_body(context: int, i: int, words: int, row: int, rows: int, panel: int) -> None:
    """Run the instructions in the `words` words from `i` on one panel of a tile."""
    end = i + WORD * words
    while i < end:
        run_on_panel(context, i, row, rows, panel)
        i += WORD * word(i, HEADER.length)


def run_product(context: int, i: int, row: int, rows: int) -> None:
    """Multiply the rows of a tile with weights, panel by panel; a fused loop finds each panel in the cache."""
    at = MULTIPLY_TILE.at
    width, chunk = word(context, CONTEXT.panel), word(context, CONTEXT.product_depth)
    kernel, depth, columns = word(i, at.kernel), word(i, at.depth), word(i, at.columns)
    a, a_panel, a_pitch = address(i, at.a, row, 0), word(i, at.a.across), word(i, at.a_pitch)
    b, b_pitch, b_panel = word(i, at.b.base), word(i, at.b.down), word(i, at.b.across)
    c, c_panel, c_pitch = address(i, at.c, row, 0), word(i, at.c.across), word(i, at.c_pitch)
    body = word(i, at.body)
    chunk_panels = word(context, CONTEXT.product_panels)
    panel = 0
    while columns > 0:
        across = vectors(context, min(width, columns))
        ahead, behind, k = a, b, 0
        while k < depth:
            here = terms_at_once(chunk, depth - k)
            issue(context, kernel, (rows, here, across, ahead, a_pitch, a_panel, behind, b_pitch, c, c_pitch, k, 0))
            ahead += a_panel * chunk_panels
            behind += b_pitch * chunk
            k += here
        run_body(context, i + WORD * MULTIPLY_TILE.size, body, row, rows, panel)
        b += b_panel
        c += c_panel
        panel += 1
        columns -= width


def run_tile_gradient(context: int, i: int, row: int, rows: int, goes_on: int) -> None:
    """Add the tile's part to the gradient of a weight matrix."""
    at = ADD_TILE_GRADIENT.at
    width, count = word(context, CONTEXT.panel), terms(context, rows)
    kernel, depth = word(i, at.kernel), word(i, at.depth)
    a, a_block, a_pitch, a_panel = (
        address(i, at.a, row, 0),
        word(i, at.a.across),
        word(i, at.a_pitch),
        word(i, at.a_panel),
    )
    first = word(i, at.to.base) + word(context, CONTEXT.gradient_shift)
    to_pitch, to_panel = word(i, at.to.down), word(i, at.to.across)
    while depth > 0:
        d, to, columns, here = address(i, at.d, row, 0), first, word(i, at.columns), min(width, depth)
        while columns > 0:
            across, d_pitch = vectors(context, min(width, columns)), word(i, at.d_pitch)
            issue(context, kernel, (here, count, across, a, a_pitch, a_panel, d, d_pitch, to, to_pitch, goes_on, 0))
            d += word(i, at.d.across)
            to += to_panel
            columns -= width
        a += a_block
        first += width * to_pitch
        depth -= width


def run_tile_sums(context: int, i: int, row: int, rows: int, goes_on: int) -> None:
    at = ADD_TILE_SUMS.at
    width, columns = word(context, CONTEXT.panel), word(i, at.columns)
    d, to = address(i, at.d, row, 0), word(i, at.to) + word(context, CONTEXT.gradient_shift)
    while columns > 0:
        across = vectors(context, min(width, columns))
        issue(context, word(i, at.kernel), (rows, across, d, word(i, at.d_pitch), to, goes_on))
        d += word(i, at.d.across)
        to += PANEL_BYTES
        columns -= width


def run_gather(context: int, i: int, row: int, rows: int, start: int) -> None:
    """Copy the rows of a tile; the batch begins at `start` of the order."""
    at, order = GATHER_PANELS.at, word(context, CONTEXT.order)
    plain, plain_row, numbers = word(i, at.plain), word(i, at.plain_row), order + WORD * (start + row)
    if order == 0:
        plain, numbers = plain + (start + row) * plain_row, 0
    to, to_panel, pitch = address(i, at.to, row, 0), word(i, at.to.across), word(i, at.pitch)
    more = word(context, CONTEXT.records) * word(context, CONTEXT.epochs) - start - row - rows
    call(word(i, at.kernel), (rows, word(i, at.columns), plain, plain_row, to, pitch, to_panel, numbers, more))


def run_scatter(i: int, row: int, rows: int, start: int) -> None:
    """Copy the rows of a tile to the caller's array."""
    at = SCATTER_ROWS.at
    plain_row = word(i, at.plain_row)
    plain = word(i, at.plain) + (start + row) * plain_row
    source, panel = address(i, at.source, row, 0), word(i, at.source.across)
    call(word(i, at.kernel), (rows, word(i, at.columns), plain, plain_row, source, word(i, at.pitch), panel))


def move_on_rows(context: int, i: int, row: int, rows: int, start: int) -> None:
    """Bring the rows of a tile in or out, or move them by numbers; the batch begins at `start` of the order."""
    opcode = word(i, HEADER.opcode)
    if opcode == GATHER_PANELS.opcode:
        run_gather(context, i, row, rows, start)
    elif opcode == GATHER_COLUMN.opcode:  # in the order of the run already
        at = GATHER_COLUMN.at
        plain = word(i, at.plain) + (start + row) * word(i, at.plain_row)
        call(word(i, at.kernel), (1, rows, plain, 0, word(i, at.to), 0, PANEL_BYTES, 0, 0))
    elif opcode == SCATTER_ROWS.opcode:
        run_scatter(i, row, rows, start)
    else:
        call(word(i, COPY_COLUMNS.at.kernel), (i, row, rows, start + row, word(context, CONTEXT.order)))


def run_dots(context: int, i: int, row: int, rows: int) -> None:
    """Multiply the rows of a tile with one row of weights."""
    at = DOT_ROWS.at
    a, a_panel, c = address(i, at.a, row, 0), word(i, at.a.across), address(i, at.c, row, 0)
    issue(
        context,
        word(i, at.kernel),
        (rows, word(i, at.depth), a, word(i, at.a_pitch), a_panel, word(i, at.w), c, word(i, at.c_pitch)),
    )
    run_body(context, i + WORD * DOT_ROWS.size, word(i, at.body), row, rows, 0)


def run_on_rows(context: int, stream: int, start: int, row: int, rows: int, goes_on: int) -> int:
    """Run the stream of a tile: `rows` rows from `row` of the batch, which begins at `start` of the order.

    It ends early, after a product, if another thread repeats all this. Returns where it ended.
    """
    i, width = stream, word(context, CONTEXT.panel)
    watched, turn = word(context, CONTEXT.watched), word(context, CONTEXT.turn)
    opcode, repeated = word(i, HEADER.opcode), 0
    while opcode not in (END, BARRIER.opcode):
        length = word(i, HEADER.length)
        if opcode == MULTIPLY_TILE.opcode:
            run_product(context, i, row, rows)
            length += word(i, MULTIPLY_TILE.at.body)
            repeated = load_atomic(watched) >> COUNT_BITS != turn
        elif opcode in (LOOP_OVER_TILE.opcode, PACK_TILE.opcode):
            columns = word(i, LOOP_OVER_TILE.at.columns if opcode == LOOP_OVER_TILE.opcode else PACK_TILE.at.columns)
            panel = 0
            while panel * width < columns:
                run_on_panel(context, i, row, rows, panel)
                panel += 1
        elif opcode == DOT_ROWS.opcode:
            run_dots(context, i, row, rows)
            length += word(i, DOT_ROWS.at.body)
        elif opcode <= LAST_MOVE or opcode in (GATHER_PANELS.opcode, GATHER_COLUMN.opcode, SCATTER_ROWS.opcode):
            move_on_rows(context, i, row, rows, start)
            note(context, MOVE_ON_ROWS, i, row, rows)
        elif opcode == ADD_TILE_GRADIENT.opcode:
            run_tile_gradient(context, i, row, rows, goes_on)
        elif opcode == ADD_TILE_SUMS.opcode:
            run_tile_sums(context, i, row, rows, goes_on)
        elif opcode == LOOP_OVER_COLUMN.opcode:
            loop = LOOP_OVER_COLUMN.at
            operands, count = i + WORD * LOOP_OVER_COLUMN.size, word(i, loop.operands)
            issue_loop(context, word(i, loop.kernel), 1, rows, 0, operands, count, 0, 0, 1)
        elif opcode == FOR_BLOCKS.opcode:
            run_blocks(context, i, rows, 0)
            length += word(i, FOR_BLOCKS.at.body)
        i += WORD * length
        opcode = END if repeated else word(i, HEADER.opcode)
    return int(i)
