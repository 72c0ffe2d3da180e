"""What every thread of a run knows: the words of its context, and where it waits for the others."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

from gdkernels_numba.vm.instructions import COME, CONTEXT, GIVEN_UP, MET
from gdkernels_numba.vm.intrinsics import add_atomic, leave_core, load_atomic, pause, word

_F = TypeVar("_F", bound=Callable[..., Any])

_SPINS = 250  # some 13 µs; then the core is left to others

(
    THREAD, THREADS, BARRIER, FLOAT_STATE, SAVED_STATE, PANEL, LANES_LOG2, PRODUCT_DEPTH, PRODUCT_PANELS, SUMS_DEPTH,
    PAIRED, BATCH, RECORDS, STEPS, TILE_ROWS, GRAIN, ALL_ROWS, ORDER, OPERANDS,
    SCALARS, SCALAR_COUNT, NUMBERS, PARTIALS, PARTIAL_BYTES, PARTIAL_COUNT,
    BEFORE, TRANSPOSES, TILE, UPDATE, SECOND_UPDATE, AFTER,
) = range(len(CONTEXT))  # fmt: skip


def compiled(function: _F) -> _F:
    """Let Numba compile `function`; divisions and the like then check nothing."""
    return cast(_F, njit(nogil=True, error_model="numpy")(function))


@compiled
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


@compiled
def vectors(context: int, columns: int) -> int:
    """Return how many registers hold so many numbers."""
    log2 = word(context, LANES_LOG2)
    return int((columns + (1 << log2) - 1) >> log2)


@compiled
def terms(context: int, rows: int) -> int:
    """Return how many terms of a sum over the batch so many rows are."""
    paired = word(context, PAIRED)
    return int((rows + paired) >> paired)


@compiled
def terms_at_once(chunk: int, left: int) -> int:
    """Return how many of the terms that are left to sum in registers; a small rest goes with the last chunk."""
    return int(left if left <= chunk + (chunk >> 2) else chunk)
