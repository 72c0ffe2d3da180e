"""How far a piece of an update has come, so that another thread can go on where a late one was.

A gradient is computed in memory of the thread, and may be computed twice. A block is changed in place, only once.
Between the two, a thread takes the block: the word that tells how far the piece has come changes only if no other
thread has gone on with the piece meanwhile. Whoever finds that one has leaves the piece to it.
"""

from gdkernels_numba.vm.intrinsics import exchange, set_word, store_atomic, word
from gdkernels_numba.vm.shared_words import BLOCK_BITS, HOLDER_BITS, PROGRESS, TURN_BYTES
from gdkernels_numba.vm.thread_context import CONTEXT

__all__ = [
    "begin_change", "begin_of_phase", "complete", "end_change", "hold", "is_held", "may_be_taken_over", "next_holder",
    "progress_of",
]  # fmt: skip

_NEXT_BLOCK = 1 << HOLDER_BITS
_NEXT_HOLDER = 2
_LAST_HOLDER = (1 << HOLDER_BITS) - 2
_COMPLETE = -1  # nobody goes on with it


def progress_of(context: int, piece: int) -> int:
    """Return where it is told how far a piece has come."""
    return int(word(context, CONTEXT.claims) + piece * TURN_BYTES + PROGRESS)


def begin_of_phase(phase: int) -> int:
    """Return what is told of a piece that has just begun."""
    return phase << HOLDER_BITS + BLOCK_BITS


def may_be_taken_over(progress: int, phase: int) -> int:
    """Return 1 if a thread may go on where another is: not while that changes a block, nor too often."""
    holder = progress - (progress >> HOLDER_BITS << HOLDER_BITS)
    free = 1 if holder < _LAST_HOLDER and holder - (holder >> 1 << 1) == 0 else 0
    return free if progress >> HOLDER_BITS + BLOCK_BITS == phase else 0


def next_holder(progress: int) -> int:
    return progress + _NEXT_HOLDER


def hold(context: int, piece: int, progress: int) -> None:
    """Begin with a piece, or go on with it, in a context of this thread."""
    blocks = progress >> HOLDER_BITS
    set_word(context, CONTEXT.piece, piece)
    set_word(context, CONTEXT.progress, progress_of(context, piece))
    set_word(context, CONTEXT.holding, progress)
    set_word(context, CONTEXT.skipped, blocks - (blocks >> BLOCK_BITS << BLOCK_BITS))


def is_held(context: int) -> int:
    """Return 0 if another thread is known to have gone on with the piece."""
    return 1 if word(context, CONTEXT.holding) >= 0 else 0


def begin_change(context: int) -> int:
    """Return 1 if this thread may change the block that comes now; 0 if another has gone on with the piece."""
    holding = word(context, CONTEXT.holding)
    taken = exchange(word(context, CONTEXT.progress), holding, holding + 1)
    if taken == 0:
        set_word(context, CONTEXT.holding, -1)
    return int(taken)


def end_change(context: int) -> None:
    """Tell that the block is changed."""
    holding = word(context, CONTEXT.holding) + _NEXT_BLOCK
    set_word(context, CONTEXT.holding, holding)
    store_atomic(word(context, CONTEXT.progress), holding)


def complete(context: int) -> int:
    """Return 1 if this thread has done the last of the piece, and nobody else may say so."""
    holding = word(context, CONTEXT.holding)
    done = 0
    if holding >= 0:
        done = exchange(word(context, CONTEXT.progress), holding, _COMPLETE)
    return int(done)
