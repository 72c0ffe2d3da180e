"""The interpreter: one function does a whole run, reading instruction streams and calling kernels at their addresses.

`gdkernels_numba.ir.translate` compiles this file as it stands, and those whose functions it calls. Everything is a
64-bit integer, in most cases an address. Threads share the pieces of each phase, and sums have a fixed order.
"""

from gdkernels_numba.vm.intrinsics import call, set_word, word
from gdkernels_numba.vm.phases import LOADING, phases_of_run, run_piece, run_step
from gdkernels_numba.vm.replay import replay_step
from gdkernels_numba.vm.tape import TAPE, begin_tape, end_tape
from gdkernels_numba.vm.thread_context import CONTEXT
from gdkernels_numba.vm.turns import take_turns

__all__ = ["interpret"]


def run_alone(context: int) -> None:
    """Do a whole run as its only thread."""
    size, records, steps = word(context, CONTEXT.batch), word(context, CONTEXT.records), word(context, CONTEXT.steps)
    for phase in range(LOADING):
        for piece in range(word(context, CONTEXT.update_pieces)):
            run_piece(context, phase, piece, 0, 0)
    epochs, tape = word(context, CONTEXT.epochs), word(context, CONTEXT.tape)
    set_word(tape, TAPE.end, 0)
    first = 1 if epochs * steps > 1 and records >= size else 0
    for epoch in range(epochs):
        for step in range(steps):
            batch = min(size, records - step * size)
            number, start, ended = epoch * steps + step, epoch * records + step * size, epoch
            if step < steps - 1:
                ended = -1
            if batch == size and word(tape, TAPE.end):
                replay_step(context, number, start, batch, ended)
            elif first:
                begin_tape(context)
                run_step(context, number, start, batch, ended)
                end_tape(context)
                first = 0
            else:
                run_step(context, number, start, batch, ended)
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
