"""The calls of a step, noted while it makes them: steps of full batches make the same ones, with nothing to decode.

An entry is the address of a kernel, the length of the entry in words, and what the kernel is called with; the operands
of a loop follow. What depends on the step, or is no call, has one of the numbers below in place of a kernel.
"""

from typing import Annotated, Any, NamedTuple

from llvmlite import ir

from gdkernels_numba.ir.emit import I64, Function
from gdkernels_numba.ir.expressions import Intrinsic
from gdkernels_numba.vm.context import set_operands
from gdkernels_numba.vm.fields import WORD, offsets_of
from gdkernels_numba.vm.intrinsics import call, set_word, word
from gdkernels_numba.vm.thread_context import CONTEXT

__all__ = [
    "CLEAR_PARTS", "KEEP_PARTS", "LAST_OF_STEP", "MOVE_AMONG_BLOCKS", "MOVE_ON_ROWS", "SUM_PARTS",
    "TAPE", "TAPE_BYTES", "begin_tape", "end_tape", "issue", "issue_loop", "note",
]  # fmt: skip


class Tape(NamedTuple):
    """The words in front of the entries."""

    next: Annotated[int, "where the next entry goes; 0 while nothing is noted"]
    end: Annotated[int, "where the entries of a step end; 0 if there are none"]


TAPE = offsets_of(Tape)

MOVE_ON_ROWS, MOVE_AMONG_BLOCKS, SUM_PARTS, CLEAR_PARTS, KEEP_PARTS = range(1, 6)  # in place of a kernel
LAST_OF_STEP = KEEP_PARTS

_HEADER = 2  # words of an entry
_MOST_OPERANDS = 64
_LONGEST = 128  # more words than an entry has, with all that is read behind it
TAPE_BYTES = WORD * 2048  # a step with more calls than that has work enough beside them


def begin_tape(context: int) -> None:
    """Note the calls from here on."""
    tape = word(context, CONTEXT.tape)
    set_word(tape, TAPE.next, tape + WORD * len(TAPE))


def end_tape(context: int) -> None:
    """Note nothing more. If there was room for all, they are the calls of a step."""
    tape = word(context, CONTEXT.tape)
    set_word(tape, TAPE.end, word(tape, TAPE.next))
    set_word(tape, TAPE.next, 0)


def set_next(tape: int, following: int) -> None:
    """Tell where the next entry goes, or that there is no room for one."""
    set_word(tape, TAPE.next, following if following < tape + TAPE_BYTES - WORD * _LONGEST else 0)


@Intrinsic
def issue(f: Function, context: Any, kernel: Any, values: Any) -> None:
    """Call a kernel, and note that if calls are noted."""
    call.write(f, kernel, values)
    tape = word.write(f, context, ir.Constant(I64, CONTEXT.tape))
    at = word.write(f, tape, ir.Constant(I64, TAPE.next))
    with f.builder.if_then(f.builder.icmp_signed("!=", at, ir.Constant(I64, 0)), likely=False):
        words = [kernel, ir.Constant(I64, _HEADER + len(values)), *values]
        for k, each in enumerate(words):
            set_word.write(f, at, ir.Constant(I64, k), each)
        following = f.add(at, WORD * len(words))
        has_room = f.is_less(following, f.add(tape, TAPE_BYTES - WORD * _LONGEST))
        room = f.builder.select(has_room, following, ir.Constant(I64, 0))
        set_word.write(f, tape, ir.Constant(I64, TAPE.next), room)


def issue_loop(
    context: int, kernel: int, rows: int, columns: int, pitch: int, operands: int, count: int, down: int, across: int,
    first: int,
) -> None:  # fmt: skip
    """Call a loop with the `count` strided addresses at `operands`, and note that if calls are noted."""
    found = set_operands(context, operands, count, down, across)
    call(kernel, (rows, columns, pitch, found, first))
    tape = word(context, CONTEXT.tape)
    at = word(tape, TAPE.next)
    if at:
        note_loop(tape, at, kernel, rows, columns, pitch, found, count, first)


def note_loop(
    tape: int, at: int, kernel: int, rows: int, columns: int, pitch: int, operands: int, count: int, first: int
) -> None:
    """Note the call of a loop, with its operands behind it."""
    own = at + WORD * (_HEADER + 5)
    set_word(at, 0, kernel)
    set_word(at, 1, _HEADER + 5 + count)
    set_word(at, 2, rows)
    set_word(at, 3, columns)
    set_word(at, 4, pitch)
    set_word(at, 5, own)
    set_word(at, 6, first)
    if count <= _MOST_OPERANDS:
        for k in range(count):
            set_word(own, k, word(operands, k))
        set_next(tape, own + WORD * count)
    else:
        set_word(tape, TAPE.next, 0)


def note(context: int, what: int, a: int, b: int, c: int) -> None:
    """Note what is no call, if calls are noted: `what` with the context and three numbers."""
    tape = word(context, CONTEXT.tape)
    at = word(tape, TAPE.next)
    if at:
        set_word(at, 0, what)
        set_word(at, 1, _HEADER + 4)
        set_word(at, 2, context)
        set_word(at, 3, a)
        set_word(at, 4, b)
        set_word(at, 5, c)
        set_next(tape, at + WORD * (_HEADER + 4))
