"""The interpreter: one function does a whole run, reading instruction streams and calling kernels at their addresses.

`gdkernels_numba.ir.translate` compiles this file as it stands, and those whose functions it calls. Everything is a
64-bit integer, in most cases an address. Threads share the pieces of each phase, and sums have a fixed order.
"""

from gdkernels_numba.vm.intrinsics import call, word
from gdkernels_numba.vm.phases import LOADING, phases_of_run, run_piece, run_step
from gdkernels_numba.vm.thread_context import CONTEXT
from gdkernels_numba.vm.turns import take_turns

__all__ = ["interpret"]


def run_alone(context: int) -> None:
    """Do a whole run as its only thread."""
    size, records, steps = word(context, CONTEXT.batch), word(context, CONTEXT.records), word(context, CONTEXT.steps)
    for phase in range(LOADING):
        for piece in range(word(context, CONTEXT.update_pieces)):
            run_piece(context, phase, piece, 0, 0)
    for epoch in range(word(context, CONTEXT.epochs)):
        for step in range(steps):
            batch = min(size, records - step * size)
            ended = epoch if step == steps - 1 else -1
            run_step(context, epoch * steps + step, epoch * records + step * size, batch, ended)
    for piece in range(word(context, CONTEXT.update_pieces)):
        run_piece(context, phases_of_run(context) - 1, piece, 0, 0)


def interpret(context: int) -> None:
    """Do a whole run as one of its threads."""
    call(word(context, CONTEXT.float_state), (word(context, CONTEXT.saved_state), 1))
    if word(context, CONTEXT.threads) == 1:
        run_alone(context)
    else:
        take_turns(context)
    call(word(context, CONTEXT.float_state), (word(context, CONTEXT.saved_state), 0))
