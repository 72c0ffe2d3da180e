"""The compiled skeleton: one function walks through a whole run, calling kernels at the addresses in its tables.

Numba compiles this file as it stands; everything is a 64-bit integer, most of them addresses. Threads meet at barriers
only, and every sum is taken in a fixed order.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import cfunc, njit, types

from gdkernels_numba.table import COME, CONTEXT, END, GIVEN_UP, MET, OPERATIONS
from gdkernels_numba.vector import GRANULE, LINE, PANEL_BYTES
from gdkernels_numba.words import add_atomic, call, leave_core, load_atomic, number, pause, set_number, set_word, word

__all__ = ["WALK", "ir_of_walk"]

WALK = "gdkernels_walk"

_F = TypeVar("_F", bound=Callable[..., Any])

_SPINS = 250  # some 13 µs; then the core is left to others


GATHER, SCATTER, PACK, UNPACK = (OPERATIONS[k] for k in ("GATHER", "SCATTER", "PACK", "UNPACK"))
GATHER_COLUMN = OPERATIONS["GATHER_COLUMN"]
PRODUCT, DOTS = OPERATIONS["PRODUCT"], OPERATIONS["DOTS"]
LOOP, COLUMN_LOOP, BLOCK_LOOP = (OPERATIONS[k] for k in ("LOOP", "COLUMN_LOOP", "BLOCK_LOOP"))
TILE_GRADIENT, TILE_SUMS, GRADIENT, SUMS = (OPERATIONS[k] for k in ("TILE_GRADIENT", "TILE_SUMS", "GRADIENT", "SUMS"))
ADD, TRANSPOSE, TOTAL, RECORD = (OPERATIONS[k] for k in ("ADD", "TRANSPOSE", "TOTAL", "RECORD"))
BLOCKS, BACK, MEET, NUMBER_LOOP = (OPERATIONS[k] for k in ("BLOCKS", "BACK", "MEET", "NUMBER_LOOP"))
NARROW, NARROW_BLOCK = OPERATIONS["NARROW"], OPERATIONS["NARROW_BLOCK"]

(
    THREAD, THREADS, BARRIER, FLOAT_STATE, SAVED_STATE, PANEL, LANES_LOG2, PRODUCT_DEPTH, PRODUCT_PANELS, SUMS_DEPTH,
    PAIRED, BATCH, RECORDS, STEPS, TILE_ROWS, GRAIN, ALL_ROWS, ORDER, OPERANDS,
    SCALARS, SCALAR_COUNT, NUMBERS, PARTIALS, PARTIAL_BYTES, PARTIAL_COUNT,
    BEFORE, TRANSPOSES, TILE, UPDATE, SECOND_UPDATE, AFTER,
) = range(len(CONTEXT))  # fmt: skip


def _compiled(function: _F) -> _F:
    """Let Numba compile `function`; divisions and the like then check nothing."""
    return cast(_F, njit(nogil=True, error_model="numpy")(function))


@_compiled
def meet(context: int) -> None:
    """Wait until all threads have come here, or one never will: what they compute then is not used."""
    threads = word(context, THREADS)
    if threads == 1:
        return
    barrier = word(context, BARRIER)
    generation = load_atomic(barrier + MET)
    if add_atomic(barrier + COME, 1) == threads - 1:
        add_atomic(barrier + COME, -threads)
        add_atomic(barrier + MET, 1)
    else:
        spins = 0
        while load_atomic(barrier + MET) == generation and load_atomic(barrier + GIVEN_UP) == 0:
            spins += 1
            if spins > _SPINS:
                leave_core()
            else:
                pause()


@_compiled
def vectors(context: int, columns: int) -> int:
    """Return how many registers hold so many numbers."""
    log2 = word(context, LANES_LOG2)
    return int((columns + (1 << log2) - 1) >> log2)


@_compiled
def run_loop(context: int, r: int, row: int, rows: int, panel: int) -> None:
    """Run the loop at record `r` on one panel of a tile."""
    operands, width = word(context, OPERANDS), word(context, PANEL)
    for k in range(word(r, 5)):
        place = r + 48 + 24 * k
        set_word(operands, k, word(place, 0) + row * word(place, 1) + panel * word(place, 2))
    columns = min(width, word(r, 3) - panel * width)
    first = 1 if panel == 0 else 0
    call(word(r, 2), (rows, columns, word(r, 4), operands, first))


@_compiled
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


@_compiled
def run_on_panel(context: int, r: int, row: int, rows: int, panel: int) -> None:
    if word(r, 0) == LOOP:
        run_loop(context, r, row, rows, panel)
    else:
        run_narrow(context, r, row, rows, panel)


@_compiled
def run_fused(context: int, r: int, words: int, row: int, rows: int, panel: int) -> None:
    """Run the records in the `words` words from `r` on one panel of a tile."""
    end = r + 8 * words
    while r < end:
        run_on_panel(context, r, row, rows, panel)
        r += 8 * word(r, 1)


@_compiled
def terms(context: int, rows: int) -> int:
    """Return how many terms of a sum over the batch so many rows are."""
    paired = word(context, PAIRED)
    return int((rows + paired) >> paired)


@_compiled
def terms_at_once(chunk: int, left: int) -> int:
    """Return how many of the terms that are left to sum in registers; a small rest goes with the last chunk."""
    return int(left if left <= chunk + (chunk >> 2) else chunk)


@_compiled
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


@_compiled
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


@_compiled
def run_tile_sums(context: int, r: int, row: int, rows: int, goes_on: int) -> None:
    width, columns = word(context, PANEL), word(r, 3)
    d, to = word(r, 4) + row * word(r, 5), word(r, 8)
    while columns > 0:
        across = vectors(context, min(width, columns))
        call(word(r, 2), (rows, across, d, word(r, 7), to, goes_on))
        d += word(r, 6)
        to += PANEL_BYTES
        columns -= width


@_compiled
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


@_compiled
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


@_compiled
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


@_compiled
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


@_compiled
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


@_compiled
def run_step(context: int, step: int) -> None:
    """Do one step: this thread's rows of the batch, then its share of the parameters."""
    thread, threads, size = word(context, THREAD), word(context, THREADS), word(context, BATCH)
    start = step * size
    batch = min(size, word(context, RECORDS) - start)
    count = word(context, SCALAR_COUNT)
    for k in range(count):
        set_word(word(context, NUMBERS), k, word(word(context, SCALARS), step * count + k))
    partials = word(context, PARTIALS) + thread * word(context, PARTIAL_BYTES)
    for k in range(word(context, PARTIAL_COUNT)):
        set_number(partials + 8 * k, 0.0)

    grain = word(context, GRAIN)
    share = (batch + threads - 1) // threads
    share = (share + grain - 1) // grain * grain
    row, stop = min(batch, thread * share), min(batch, thread * share + share)
    if word(context, ALL_ROWS):
        row, stop = 0, batch
    goes_on = 0
    while row < stop:
        rows = min(word(context, TILE_ROWS), stop - row)
        run_on_rows(context, word(context, TILE), start, row, rows, goes_on)
        row += rows
        goes_on = 1
    meet(context)
    busy = (batch + share - 1) // share
    run_on_blocks(context, word(context, UPDATE), batch, busy)
    if word(context, SECOND_UPDATE):
        meet(context)
        run_on_blocks(context, word(context, SECOND_UPDATE), batch, busy)
    meet(context)


def walk(context: int) -> None:
    """Do a whole run as one of its threads."""
    call(word(context, FLOAT_STATE), (word(context, SAVED_STATE), 1))
    run_on_blocks(context, word(context, BEFORE), 0, 0)
    meet(context)
    run_on_blocks(context, word(context, TRANSPOSES), 0, 0)
    meet(context)
    step = 0
    while step < word(context, STEPS) and load_atomic(word(context, BARRIER) + GIVEN_UP) == 0:
        run_step(context, step)
        step += 1
    run_on_blocks(context, word(context, AFTER), 0, 0)
    call(word(context, FLOAT_STATE), (word(context, SAVED_STATE), 0))


def ir_of_walk() -> str:
    """Return what Numba makes of `walk`, as a function `WALK` of one 64-bit integer."""
    import llvmlite.binding as llvm

    compiled = cfunc(types.void(types.int64), nopython=True, error_model="numpy")(walk)
    module = llvm.parse_assembly(compiled.inspect_llvm())
    # The wrapper that Numba adds would report exceptions, of which there are none, with the help of its run-time
    # library; without it the code stands alone, and a process that finds it in the cache need not import Numba.
    module.get_function(compiled.native_name).linkage = "internal"
    return f"""{module}
define void @{WALK}(i64 %context) {{
  %result = alloca ptr
  %exception = alloca ptr
  call i32 @{compiled.native_name.removeprefix("cfunc.")}(ptr %result, ptr %exception, i64 %context)
  ret void
}}
"""
