"""The work of a piece on its blocks of the parameters: gradients of the whole batch, updates, and other layouts."""

from gdkernels_numba.ir.format import PANEL_BYTES
from gdkernels_numba.vm.batch_sums import run_column_sums, run_gradient, run_sum
from gdkernels_numba.vm.context import address, vectors
from gdkernels_numba.vm.fields import WORD
from gdkernels_numba.vm.instructions import (
    ADD_BLOCK,
    ADD_BY_CODE,
    ADD_TO_RESULT,
    CHANGE_BLOCKS,
    END,
    FOR_BLOCKS,
    HEADER,
    LAST_MOVE,
    LOAD_PARAMETER,
    LOOP_OVER_BLOCK,
    LOOP_OVER_NUMBERS,
    LOOP_OVER_VALUE,
    MULTIPLY_BACK,
    MULTIPLY_VALUES,
    PACK_BLOCK,
    STORE_PARAMETER,
    SUM_COLUMNS,
    SUM_COLUMNS_OF_VALUE,
    SUM_GRADIENT,
    SUM_OVER_PIECES,
    TAKE_BLOCK,
    TRANSPOSE_BLOCK,
)
from gdkernels_numba.vm.intrinsics import call, number, set_number, set_word, word
from gdkernels_numba.vm.progress import begin_change, end_change, is_held
from gdkernels_numba.vm.tape import MOVE_AMONG_BLOCKS, SUM_PARTS, issue, issue_loop, note
from gdkernels_numba.vm.thread_context import CONTEXT
from gdkernels_numba.vm.values import run_on_value

__all__ = ["move_among_blocks", "run_blocks", "run_on_blocks"]

_FIRST, _STOP = 0, 1  # words of the bounds


def multiply_back(context: int, i: int, across: int, rows: int, columns: int, batch: int) -> None:
    """Multiply all rows of the batch by a block of weights from the other side."""
    at = MULTIPLY_BACK.at
    kernel, transpose, to = word(i, at.kernel), word(i, at.transpose), word(i, at.transposed)
    d, d_pitch = address(i, at.d, 0, across), word(i, at.d_pitch)
    w, w_pitch = address(i, at.w, 0, across), word(i, at.w_pitch)
    c, c_pitch = word(i, at.c), word(i, at.c_pitch)
    if transpose:
        issue(context, transpose, (rows, columns, w, w_pitch, to, PANEL_BYTES))
        wide = vectors(context, rows)
        issue(context, kernel, (batch, columns, wide, d, d_pitch, 0, to, PANEL_BYTES, c, c_pitch, across, 0))
    else:
        issue(context, kernel, (batch, columns, rows, d, d_pitch, w, w_pitch, c, c_pitch, across))


def run_on_block(context: int, i: int, down: int, across: int, rows: int, columns: int, batch: int, busy: int) -> None:
    """Run an instruction on the block of `rows` by `columns` that is `down` below the first and `across` beside it."""
    opcode, count = word(i, HEADER.opcode), vectors(context, columns)
    if opcode == SUM_GRADIENT.opcode:
        run_gradient(context, i, down, across, rows, columns, batch)
    elif opcode == LOOP_OVER_BLOCK.opcode:
        loop = LOOP_OVER_BLOCK.at
        operands, operand_count, pitch = i + WORD * LOOP_OVER_BLOCK.size, word(i, loop.operands), word(i, loop.pitch)
        issue_loop(context, word(i, loop.kernel), rows, columns, pitch, operands, operand_count, down, across, 1)
    elif opcode == MULTIPLY_BACK.opcode:
        multiply_back(context, i, across, rows, columns, batch)
    elif opcode == SUM_COLUMNS.opcode:
        run_column_sums(context, i, across, count, batch)
    elif opcode == TRANSPOSE_BLOCK.opcode:
        move = TRANSPOSE_BLOCK.at
        source, source_pitch = address(i, move.source, down, across), word(i, move.source_pitch)
        target, target_pitch = address(i, move.target, down, across), word(i, move.target_pitch)
        issue(context, word(i, move.kernel), (rows, columns, source, source_pitch, target, target_pitch))
    elif opcode == PACK_BLOCK.opcode:
        pack = PACK_BLOCK.at
        source, source_pitch = address(i, pack.source, down, across), word(i, pack.source_pitch)
        right = address(i, pack.right, down, across) if word(i, pack.right.base) else 0
        back_form = address(i, pack.back, down, across) if word(i, pack.back.base) else 0
        right_pitch, back_pitch = word(i, pack.right_pitch), word(i, pack.back_pitch)
        given = (rows, columns, source, source_pitch, right, right_pitch, back_form, back_pitch)
        issue(context, word(i, pack.kernel), given)
    elif opcode == ADD_BLOCK.opcode and word(i, ADD_BLOCK.at.piece) < busy:
        add = ADD_BLOCK.at
        source, target = address(i, add.source, down, across), address(i, add.target, down, across)
        issue(context, word(i, add.kernel), (rows, count, source, target, word(i, add.pitch)))


def run_blocks(context: int, i: int, batch: int, busy: int) -> None:
    """Run the body of the instruction at `i` on each of its blocks."""
    at = FOR_BLOCKS.at
    width, rows, columns = word(context, CONTEXT.panel), word(i, at.rows), word(i, at.columns)
    panels = (columns + width - 1) // width
    body = i + WORD * FOR_BLOCKS.size
    end = body + WORD * word(i, at.body)
    for k in range(word(i, at.first), word(i, at.stop)):
        down = k // panels
        across = k - down * panels
        high, wide = min(width, rows - down * width), min(width, columns - across * width)
        inner = body
        while inner < end:
            run_on_block(context, inner, down, across, high, wide, batch, busy)
            inner += WORD * word(inner, HEADER.length)


def run_changes(context: int, i: int, batch: int, busy: int) -> None:
    """Run the body of the instruction at `i` on each of this piece's blocks that no thread has changed yet."""
    at, piece = CHANGE_BLOCKS.at, word(context, CONTEXT.piece)
    width, rows, columns = word(context, CONTEXT.panel), word(i, at.rows), word(i, at.columns)
    panels = (columns + width - 1) // width
    body = i + WORD * CHANGE_BLOCKS.size
    end = body + WORD * word(i, at.body)
    bounds = word(i, at.bounds) + piece * WORD
    first, stop = word(bounds, _FIRST), word(bounds, _STOP)
    skipped = min(word(context, CONTEXT.skipped), stop - first)
    set_word(context, CONTEXT.skipped, word(context, CONTEXT.skipped) - skipped)
    k = first + skipped
    while k < stop and is_held(context):
        down = k // panels
        across = k - down * panels
        high, wide = min(width, rows - down * width), min(width, columns - across * width)
        inner = body
        while inner < end:
            goes_on = 1
            if word(inner, HEADER.opcode) == TAKE_BLOCK.opcode:
                goes_on = begin_change(context)
            else:
                run_on_block(context, inner, down, across, high, wide, batch, busy)
            inner = inner + WORD * word(inner, HEADER.length) if goes_on else end
        if is_held(context):
            end_change(context)
        k += 1


def move_among_blocks(context: int, i: int, batch: int) -> None:
    """Add rows to a gradient by their numbers, or clear those."""
    start, order = word(context, CONTEXT.start), word(context, CONTEXT.order)
    call(word(i, ADD_BY_CODE.at.kernel), (i, 0, batch, start, order))


def run_on_blocks(context: int, stream: int, batch: int, busy: int) -> None:
    """Run the stream of an update, or one before or after all steps; `busy` pieces had rows."""
    i = stream
    while i != 0 and word(i, HEADER.opcode) != END:
        opcode, length = word(i, HEADER.opcode), word(i, HEADER.length)
        if opcode == FOR_BLOCKS.opcode:
            run_blocks(context, i, batch, busy)
            length += word(i, FOR_BLOCKS.at.body)
        elif opcode == CHANGE_BLOCKS.opcode:
            run_changes(context, i, batch, busy)
            length += word(i, CHANGE_BLOCKS.at.body)
        elif opcode <= LAST_MOVE:
            move_among_blocks(context, i, batch)
            note(context, MOVE_AMONG_BLOCKS, i, 0, 0)
        elif opcode == LOOP_OVER_NUMBERS.opcode:
            loop = LOOP_OVER_NUMBERS.at
            operands, count = i + WORD * LOOP_OVER_NUMBERS.size, word(i, loop.operands)
            issue_loop(context, word(i, loop.kernel), 0, 0, 0, operands, count, 0, 0, 1)
        elif opcode in (LOOP_OVER_VALUE.opcode, MULTIPLY_VALUES.opcode, SUM_COLUMNS_OF_VALUE.opcode):
            run_on_value(context, i)
        elif opcode == SUM_OVER_PIECES.opcode:
            run_sum(context, i)
            note(context, SUM_PARTS, i, 0, 0)
        elif opcode == ADD_TO_RESULT.opcode:
            source, target = word(i, ADD_TO_RESULT.at.source), word(i, ADD_TO_RESULT.at.target)
            set_number(target, number(target) + number(source))
        elif opcode == LOAD_PARAMETER.opcode:
            load = LOAD_PARAMETER.at
            plain, plain_row, panels = word(i, load.plain), word(i, load.plain_row), load.panels
            issue(
                context,
                word(i, load.kernel),
                (
                    word(i, load.rows), word(i, load.columns), plain, plain_row,
                    word(i, panels.base), word(i, panels.down), word(i, panels.across), 0, 0,
                ),
            )  # fmt: skip
        elif opcode == STORE_PARAMETER.opcode:
            store = STORE_PARAMETER.at
            plain, plain_row, panels = word(i, store.plain), word(i, store.plain_row), store.panels
            issue(
                context,
                word(i, store.kernel),
                (
                    word(i, store.rows), word(i, store.columns), plain, plain_row,
                    word(i, panels.base), word(i, panels.down), word(i, panels.across),
                ),
            )  # fmt: skip
        i += WORD * length
