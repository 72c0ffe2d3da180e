"""The interpreter: one function does a whole run, reading instruction streams and calling kernels at their addresses.

`gdkernels_numba.ir.translate` compiles this file as it stands, and those whose functions it calls. Everything is a
64-bit integer, in most cases an address. Threads meet only at barriers, and add in a fixed order.
"""

from llvmlite import ir

from gdkernels_numba.ir.translate import translate
from gdkernels_numba.vm.blocks import run_on_blocks
from gdkernels_numba.vm.context import barrier_wait
from gdkernels_numba.vm.fields import WORD
from gdkernels_numba.vm.instructions import BARRIER_WORDS, CONTEXT, INTERPRETER, TOTALS
from gdkernels_numba.vm.intrinsics import call, load_atomic, set_number, set_word, word
from gdkernels_numba.vm.rows import run_on_rows

__all__ = ["interpreter_ir"]


def run_step(context: int, step: int, start: int, batch: int) -> None:
    """Do one step: this thread's rows of the batch, which begins at `start`; then its share of the parameters."""
    set_word(context, CONTEXT.start, start)
    thread, threads = word(context, CONTEXT.thread), word(context, CONTEXT.threads)
    count = word(context, CONTEXT.scalar_count)
    for k in range(count):
        set_word(word(context, CONTEXT.numbers), k, word(word(context, CONTEXT.scalars), step * count + k))
    partials = word(context, CONTEXT.partials) + thread * word(context, CONTEXT.partial_bytes)
    for k in range(word(context, CONTEXT.partial_count)):
        set_number(partials + WORD * k, 0.0)

    grain = word(context, CONTEXT.grain)
    share = (batch + threads - 1) // threads
    share = (share + grain - 1) // grain * grain
    row, stop = min(batch, thread * share), min(batch, thread * share + share)
    if word(context, CONTEXT.all_rows):
        row, stop = 0, batch
    goes_on = 0
    while row < stop:
        rows = min(word(context, CONTEXT.tile_rows), stop - row)
        run_on_rows(context, word(context, CONTEXT.tile), start, row, rows, goes_on)
        row += rows
        goes_on = 1
    barrier_wait(context)
    busy = (batch + share - 1) // share
    run_on_blocks(context, word(context, CONTEXT.update), batch, busy)
    if word(context, CONTEXT.second_update):
        barrier_wait(context)
        run_on_blocks(context, word(context, CONTEXT.second_update), batch, busy)
    barrier_wait(context)


def run_epoch(context: int, epoch: int) -> None:
    """Do the steps of one epoch, and put its totals where the caller finds them."""
    size, records, steps = word(context, CONTEXT.batch), word(context, CONTEXT.records), word(context, CONTEXT.steps)
    step, given_up = 0, word(context, CONTEXT.barrier) + BARRIER_WORDS.given_up
    while step < steps and load_atomic(given_up) == 0:
        batch = min(size, records - step * size)
        run_step(context, epoch * steps + step, epoch * records + step * size, batch)
        step += 1
    if word(context, CONTEXT.thread) == 0:  # which added them up
        totals, results = word(context, CONTEXT.totals), word(context, CONTEXT.results) + epoch * TOTALS * WORD
        for k in range(TOTALS):
            set_word(results, k, word(totals, k))
            set_number(totals + WORD * k, 0.0)


def interpret(context: int) -> None:
    """Do a whole run as one of its threads."""
    call(word(context, CONTEXT.float_state), (word(context, CONTEXT.saved_state), 1))
    run_on_blocks(context, word(context, CONTEXT.before), 0, 0)
    barrier_wait(context)
    run_on_blocks(context, word(context, CONTEXT.transposes), 0, 0)
    barrier_wait(context)
    epoch, given_up = 0, word(context, CONTEXT.barrier) + BARRIER_WORDS.given_up
    while epoch < word(context, CONTEXT.epochs) and load_atomic(given_up) == 0:
        run_epoch(context, epoch)
        epoch += 1
    run_on_blocks(context, word(context, CONTEXT.after), 0, 0)
    call(word(context, CONTEXT.float_state), (word(context, CONTEXT.saved_state), 0))


def interpreter_ir() -> str:
    """Return `interpret` and what it calls as LLVM IR, in a function `INTERPRETER`."""
    module = ir.Module("interpreter")
    translate(module, interpret, INTERPRETER)
    return str(module)
