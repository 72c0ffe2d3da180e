"""A step of a full batch, by the calls that an earlier one made."""

from gdkernels_numba.vm.blocks import move_among_blocks, run_sum
from gdkernels_numba.vm.fields import WORD
from gdkernels_numba.vm.intrinsics import call, word
from gdkernels_numba.vm.phases import add_to_totals, clear_parts, context_of, keep_parts, set_numbers
from gdkernels_numba.vm.rows import move_on_rows
from gdkernels_numba.vm.tape import (
    CLEAR_PARTS,
    KEEP_PARTS,
    LAST_OF_STEP,
    MOVE_AMONG_BLOCKS,
    MOVE_ON_ROWS,
    SUM_PARTS,
    TAPE,
)
from gdkernels_numba.vm.thread_context import CONTEXT

__all__ = ["replay_step"]


def do_noted(at: int, start: int, batch: int) -> None:
    """Do what an entry says that is no call of a kernel."""
    what, context, a, b, c = word(at, 0), word(at, 2), word(at, 3), word(at, 4), word(at, 5)
    if what == MOVE_ON_ROWS:
        move_on_rows(context, a, b, c, start)
    elif what == CLEAR_PARTS:
        clear_parts(context)
    elif what == KEEP_PARTS:
        keep_parts(context, a)
    elif what == SUM_PARTS:
        run_sum(a, b)
    elif what == MOVE_AMONG_BLOCKS:
        move_among_blocks(context, a, batch)


def replay_step(context: int, step: int, start: int, batch: int, ended: int) -> None:
    """Do all of a step, as the only thread of a run; its arguments are as for `run_step`."""
    for k in range(word(context, CONTEXT.in_bank)):
        set_numbers(context_of(context, 0, k), step, start)
    tape = word(context, CONTEXT.tape)
    at, end = tape + WORD * len(TAPE), word(tape, TAPE.end)
    while at < end:
        kernel = word(at, 0)
        if kernel > LAST_OF_STEP:
            call(
                kernel,
                (
                    word(at, 2), word(at, 3), word(at, 4), word(at, 5), word(at, 6), word(at, 7), word(at, 8),
                    word(at, 9), word(at, 10), word(at, 11), word(at, 12), word(at, 13),
                ),
            )  # fmt: skip
        else:
            do_noted(at, start, batch)
        at += WORD * word(at, 1)
    add_to_totals(context_of(context, 0, 0), ended)
