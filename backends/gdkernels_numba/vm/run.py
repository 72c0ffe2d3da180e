"""The compiled skeleton: one function walks through a whole run, calling kernels at the addresses in its tables.

Numba compiles this file, and those whose functions it calls, as they stand; everything is a 64-bit integer, most of
them addresses. Threads meet at barriers only, and every sum is taken in a fixed order.
"""

from numba import cfunc, types

from gdkernels_numba.vm.blocks import run_on_blocks
from gdkernels_numba.vm.context import (
    AFTER,
    ALL_ROWS,
    BARRIER,
    BATCH,
    BEFORE,
    FLOAT_STATE,
    GRAIN,
    NUMBERS,
    PARTIAL_BYTES,
    PARTIAL_COUNT,
    PARTIALS,
    RECORDS,
    SAVED_STATE,
    SCALAR_COUNT,
    SCALARS,
    SECOND_UPDATE,
    STEPS,
    THREAD,
    THREADS,
    TILE,
    TILE_ROWS,
    TRANSPOSES,
    UPDATE,
    compiled,
    meet,
)
from gdkernels_numba.vm.instructions import GIVEN_UP
from gdkernels_numba.vm.intrinsics import call, load_atomic, set_number, set_word, word
from gdkernels_numba.vm.rows import run_on_rows

__all__ = ["WALK", "ir_of_walk"]

WALK = "gdkernels_walk"


@compiled
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
