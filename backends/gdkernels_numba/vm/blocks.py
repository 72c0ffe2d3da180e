"""What a thread runs on its blocks of the parameters: gradients of the whole batch, updates, and other layouts."""

from gdkernels_numba.vm.context import (
    OPERANDS,
    PANEL,
    PARTIAL_BYTES,
    SUMS_DEPTH,
    THREADS,
    compiled,
    terms,
    terms_at_once,
    vectors,
)
from gdkernels_numba.vm.instructions import END, OPERATIONS
from gdkernels_numba.vm.intrinsics import call, number, set_number, set_word, word

PACK, UNPACK, BLOCK_LOOP, GRADIENT = (OPERATIONS[k] for k in ("PACK", "UNPACK", "BLOCK_LOOP", "GRADIENT"))
SUMS, ADD, TRANSPOSE, TOTAL = (OPERATIONS[k] for k in ("SUMS", "ADD", "TRANSPOSE", "TOTAL"))
RECORD, BLOCKS, BACK, NUMBER_LOOP = (OPERATIONS[k] for k in ("RECORD", "BLOCKS", "BACK", "NUMBER_LOOP"))
NARROW_BLOCK = OPERATIONS["NARROW_BLOCK"]


@compiled
def run_gradient(context: int, r: int, down: int, across: int, rows: int, count: int, batch: int) -> None:
    """Compute a block of the gradient of a weight matrix from the whole batch."""
    chunk, depth = word(context, SUMS_DEPTH), terms(context, batch)
    a, d = word(r, 3) + down * word(r, 4), word(r, 8) + across * word(r, 9)
    to = word(r, 11) + down * word(r, 12) + across * word(r, 13)
    k = 0
    while k < depth:
        here = terms_at_once(chunk, depth - k)
        chunks_left = (depth - k - here + chunk - 1) // chunk
        soon = 0
        if chunks_left < word(r, 15):
            place = r + 128 + 24 * chunks_left
            soon = word(place, 0) + down * word(place, 1) + across * word(place, 2)
        call(word(r, 2), (rows, here, count, a, word(r, 5), word(r, 6), d, word(r, 10), to, word(r, 14), k, soon))
        a += chunk * word(r, 7)
        d += chunk * word(r, 10)
        k += here


@compiled
def run_on_block(context: int, r: int, down: int, across: int, rows: int, columns: int, batch: int, busy: int) -> None:
    """Run a record on the block of `rows` by `columns` that is `down` blocks below the first and `across` beside it."""
    operation, kernel, count = word(r, 0), word(r, 2), vectors(context, columns)
    if operation == GRADIENT:
        run_gradient(context, r, down, across, rows, count, batch)
    elif operation == BLOCK_LOOP:
        operands = word(context, OPERANDS)
        for k in range(word(r, 4)):
            place = r + 40 + 24 * k
            set_word(operands, k, word(place, 0) + down * word(place, 1) + across * word(place, 2))
        call(kernel, (rows, columns, word(r, 3), operands, 1))
    elif operation == BACK:
        d, w = word(r, 3) + across * word(r, 4), word(r, 6) + across * word(r, 7)
        call(kernel, (batch, columns, rows, d, word(r, 5), w, word(r, 8), word(r, 9), word(r, 10), across))
    elif operation == SUMS:
        to = word(r, 6) + across * word(r, 7)
        call(kernel, (batch, count, word(r, 3) + across * word(r, 4), word(r, 5), to, 0))
    elif operation == TRANSPOSE:
        source = word(r, 3) + down * word(r, 4) + across * word(r, 5)
        target = word(r, 7) + down * word(r, 8) + across * word(r, 9)
        call(kernel, (rows, columns, source, word(r, 6), target, word(r, 10)))
    elif operation == NARROW_BLOCK:
        source = word(r, 3) + down * word(r, 4) + across * word(r, 5)
        right, back = word(r, 7), word(r, 11)
        if right:
            right += down * word(r, 8) + across * word(r, 9)
        if back:
            back += down * word(r, 12) + across * word(r, 13)
        call(kernel, (rows, columns, source, word(r, 6), right, word(r, 10), back, word(r, 14)))
    elif operation == ADD and word(r, 10) < busy:
        source = word(r, 3) + down * word(r, 4) + across * word(r, 5)
        target = word(r, 6) + down * word(r, 7) + across * word(r, 8)
        call(kernel, (rows, count, source, target, word(r, 9)))


@compiled
def run_blocks(context: int, r: int, batch: int, busy: int) -> None:
    """Run the records that follow the one at `r` on each of its blocks."""
    width, rows, columns = word(context, PANEL), word(r, 2), word(r, 3)
    panels = (columns + width - 1) // width
    body = r + 8 * word(r, 1)
    end = body + 8 * word(r, 6)
    for k in range(word(r, 4), word(r, 5)):
        down = k // panels
        across = k - down * panels
        high, wide = min(width, rows - down * width), min(width, columns - across * width)
        at = body
        while at < end:
            run_on_block(context, at, down, across, high, wide, batch, busy)
            at += 8 * word(at, 1)


@compiled
def run_on_blocks(context: int, table: int, batch: int, busy: int) -> None:
    """Run the records of an update, or those before and after a run; `busy` threads had rows."""
    r = table
    while r != 0 and word(r, 0) != END:
        operation, length, kernel = word(r, 0), word(r, 1), word(r, 2)
        if operation == BLOCKS:
            run_blocks(context, r, batch, busy)
            length += word(r, 6)
        elif operation == NUMBER_LOOP:
            operands = word(context, OPERANDS)
            for k in range(word(r, 3)):
                set_word(operands, k, word(r, 4 + 3 * k))
            call(kernel, (0, 0, 0, operands, 1))
        elif operation == TOTAL:
            total = 0.0
            for k in range(word(context, THREADS)):
                total += number(word(r, 2) + k * word(context, PARTIAL_BYTES))
            set_number(word(r, 3), total)
        elif operation == RECORD:
            set_number(word(r, 3), number(word(r, 3)) + number(word(r, 2)))
        elif operation == PACK:
            call(kernel, (word(r, 3), word(r, 4), word(r, 5), word(r, 6), word(r, 7), word(r, 8), word(r, 9), 0))
        elif operation == UNPACK:
            call(kernel, (word(r, 3), word(r, 4), word(r, 5), word(r, 6), word(r, 7), word(r, 8), word(r, 9)))
        r += 8 * length
