"""What a thread runs on a tile: some rows of the batch, forward and back."""

from gdkernels_numba.ir.vector import GRANULE, LINE, PANEL_BYTES
from gdkernels_numba.vm.blocks import run_blocks
from gdkernels_numba.vm.context import (
    OPERANDS,
    ORDER,
    PANEL,
    PRODUCT_DEPTH,
    PRODUCT_PANELS,
    compiled,
    meet,
    terms,
    terms_at_once,
    vectors,
)
from gdkernels_numba.vm.instructions import END, OPERATIONS
from gdkernels_numba.vm.intrinsics import call, set_word, word

GATHER, SCATTER, GATHER_COLUMN, PRODUCT = (OPERATIONS[k] for k in ("GATHER", "SCATTER", "GATHER_COLUMN", "PRODUCT"))
DOTS, LOOP, COLUMN_LOOP, TILE_GRADIENT = (OPERATIONS[k] for k in ("DOTS", "LOOP", "COLUMN_LOOP", "TILE_GRADIENT"))
TILE_SUMS, BLOCKS, MEET, NARROW = (OPERATIONS[k] for k in ("TILE_SUMS", "BLOCKS", "MEET", "NARROW"))


@compiled
def run_loop(context: int, r: int, row: int, rows: int, panel: int) -> None:
    """Run the loop at record `r` on one panel of a tile."""
    operands, width = word(context, OPERANDS), word(context, PANEL)
    for k in range(word(r, 5)):
        place = r + 48 + 24 * k
        set_word(operands, k, word(place, 0) + row * word(place, 1) + panel * word(place, 2))
    columns = min(width, word(r, 3) - panel * width)
    first = 1 if panel == 0 else 0
    call(word(r, 2), (rows, columns, word(r, 4), operands, first))


@compiled
def run_narrow(context: int, r: int, row: int, rows: int, panel: int) -> None:
    """Write the forms of one panel of a tile that products need."""
    width = word(context, PANEL)
    columns = min(width, word(r, 3) - panel * width)
    source = word(r, 4) + row * word(r, 5) + panel * word(r, 6)
    left, right, turned = word(r, 8), word(r, 11), word(r, 15)
    if left:
        left += row * word(r, 9) + panel * (width // GRANULE) * word(r, 10)
    if right:
        right += row * word(r, 12) + panel * word(r, 13)
    if turned:
        turned += row * word(r, 16) + panel * width * LINE
    call(word(r, 2), (rows, columns, source, word(r, 7), left, word(r, 10), right, word(r, 14), turned, word(r, 17)))


@compiled
def run_on_panel(context: int, r: int, row: int, rows: int, panel: int) -> None:
    if word(r, 0) == LOOP:
        run_loop(context, r, row, rows, panel)
    else:
        run_narrow(context, r, row, rows, panel)


@compiled
def run_fused(context: int, r: int, words: int, row: int, rows: int, panel: int) -> None:
    """Run the records in the `words` words from `r` on one panel of a tile."""
    end = r + 8 * words
    while r < end:
        run_on_panel(context, r, row, rows, panel)
        r += 8 * word(r, 1)


@compiled
def run_product(context: int, r: int, row: int, rows: int) -> None:
    """Multiply the rows of a tile with weights, panel by panel; a fused loop finds each panel in the cache."""
    width, chunk = word(context, PANEL), word(context, PRODUCT_DEPTH)
    kernel, depth, columns = word(r, 2), word(r, 3), word(r, 4)
    a, a_panel, a_pitch = word(r, 5) + row * word(r, 6), word(r, 7), word(r, 8)
    b, b_pitch, b_panel = word(r, 9), word(r, 10), word(r, 11)
    c, c_panel, c_pitch = word(r, 12) + row * word(r, 13), word(r, 14), word(r, 15)
    fused = word(r, 16)
    chunk_panels = word(context, PRODUCT_PANELS)
    panel = 0
    while columns > 0:
        across = vectors(context, min(width, columns))
        ahead, behind, k = a, b, 0
        while k < depth:
            here = terms_at_once(chunk, depth - k)
            call(kernel, (rows, here, across, ahead, a_pitch, a_panel, behind, b_pitch, c, c_pitch, k, 0))
            ahead += a_panel * chunk_panels
            behind += b_pitch * chunk
            k += here
        run_fused(context, r + 8 * word(r, 1), fused, row, rows, panel)
        b += b_panel
        c += c_panel
        panel += 1
        columns -= width


@compiled
def run_tile_gradient(context: int, r: int, row: int, rows: int, goes_on: int) -> None:
    """Add the tile's part to the gradient of a weight matrix."""
    width, count = word(context, PANEL), terms(context, rows)
    kernel, depth = word(r, 2), word(r, 3)
    a, a_block, a_pitch, a_panel = word(r, 5) + row * word(r, 6), word(r, 7), word(r, 8), word(r, 9)
    first, to_pitch, to_panel = word(r, 14), word(r, 15), word(r, 16)
    while depth > 0:
        d, to, columns, here = word(r, 10) + row * word(r, 11), first, word(r, 4), min(width, depth)
        while columns > 0:
            across = vectors(context, min(width, columns))
            call(kernel, (here, count, across, a, a_pitch, a_panel, d, word(r, 13), to, to_pitch, goes_on, 0))
            d += word(r, 12)
            to += to_panel
            columns -= width
        a += a_block
        first += width * to_pitch
        depth -= width


@compiled
def run_tile_sums(context: int, r: int, row: int, rows: int, goes_on: int) -> None:
    width, columns = word(context, PANEL), word(r, 3)
    d, to = word(r, 4) + row * word(r, 5), word(r, 8)
    while columns > 0:
        across = vectors(context, min(width, columns))
        call(word(r, 2), (rows, across, d, word(r, 7), to, goes_on))
        d += word(r, 6)
        to += PANEL_BYTES
        columns -= width


@compiled
def run_on_rows(context: int, table: int, start: int, row: int, rows: int, goes_on: int) -> None:
    """Run the records of a tile: `rows` rows from `row` of the batch, which begins at `start` of the order."""
    r, width, order = table, word(context, PANEL), word(context, ORDER)
    while word(r, 0) != END:
        operation, length, kernel = word(r, 0), word(r, 1), word(r, 2)
        if operation == PRODUCT:
            run_product(context, r, row, rows)
            length += word(r, 16)
        elif operation in (LOOP, NARROW):
            panel = 0
            while panel * width < word(r, 3):
                run_on_panel(context, r, row, rows, panel)
                panel += 1
        elif operation == DOTS:
            a, c = word(r, 4) + row * word(r, 5), word(r, 9) + row * word(r, 10)
            call(kernel, (rows, word(r, 3), a, word(r, 7), word(r, 6), word(r, 8), c, word(r, 12)))
            run_fused(context, r + 8 * length, word(r, 13), row, rows, 0)
            length += word(r, 13)
        elif operation == GATHER:
            to = word(r, 6) + row * word(r, 7)
            plain, numbers = word(r, 4), order + 8 * (start + row)
            if order == 0:
                plain, numbers = plain + (start + row) * word(r, 5), 0
            call(kernel, (rows, word(r, 3), plain, word(r, 5), to, word(r, 9), word(r, 8), numbers))
        elif operation == GATHER_COLUMN:  # in the order of the run already
            plain = word(r, 3) + (start + row) * word(r, 4)
            call(kernel, (1, rows, plain, 0, word(r, 5), 0, PANEL_BYTES, 0))
        elif operation == TILE_GRADIENT:
            run_tile_gradient(context, r, row, rows, goes_on)
        elif operation == TILE_SUMS:
            run_tile_sums(context, r, row, rows, goes_on)
        elif operation == COLUMN_LOOP:
            operands = word(context, OPERANDS)
            for k in range(word(r, 3)):
                set_word(operands, k, word(r, 4 + 3 * k))
            call(kernel, (1, rows, 0, operands, 1))
        elif operation == SCATTER:
            plain = word(r, 4) + (start + row) * word(r, 5)
            source = word(r, 6) + row * word(r, 7)
            call(kernel, (rows, word(r, 3), plain, word(r, 5), source, word(r, 9), word(r, 8)))
        elif operation == MEET:
            meet(context)
        elif operation == BLOCKS:
            run_blocks(context, r, rows, 0)
            length += word(r, 6)
        r += 8 * length
