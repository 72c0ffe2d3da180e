"""How many threads may compute, and why no more: one answer for every backend."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache

from gdkernels.system.control_groups import cpu_quota
from gdkernels.system.machine import cores
from gdkernels.system.thread_limits import VARIABLE, limit_of_keyword, limit_of_variable, whole_number

__all__ = ["ThreadBound", "asked_bound", "in_words", "thread_bound"]

# Variables of other libraries that the engines follow; one that is no number is theirs to complain about.
_OTHERS = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS")


@dataclass(frozen=True)
class ThreadBound:
    """The largest number of threads, and what bounds it."""

    threads: int
    reason: str


def thread_bound() -> ThreadBound:
    """Return the strictest bound on the threads of a computation.

    These bound it: the cores that this process may use, a container's quota, GDKERNELS_THREADS, NUMBA_NUM_THREADS,
    OMP_NUM_THREADS, and the keyword `threads`, which `at_most` carries.

    Raises
    ------
    InputError
        If GDKERNELS_THREADS is no number of threads.
    """
    told = tuple(os.environ.get(name, "") for name in _OTHERS)
    return _bound(cores(), told, _quota(), limit_of_variable(), limit_of_keyword())


@lru_cache(maxsize=64)  # each fit asks a few times
def _bound(
    count: int, others: tuple[str, ...], quota: float | None, wished: int | None, passed: int | None
) -> ThreadBound:
    here = ThreadBound(count, f"this process may use {count} core{'s' * (count > 1)}")
    return _strictest([here, *_others(others), *_asked(quota, wished, passed)]) or here


def asked_bound() -> ThreadBound | None:
    """Return the strictest of the bounds that no other library knows, or None: for libraries that start threads."""
    return _strictest(list(_asked(_quota(), limit_of_variable(), limit_of_keyword())))


def in_words(threads: int | None, of_blas: int | None, bound: ThreadBound) -> str:
    """Return the threads of a plan and why there are no more; "" where it has none.

    Parameters
    ----------
    threads
        Those of a compiled engine, whose plan has one number for all that it does.
    of_blas
        Those of the products that NumPy leaves to BLAS.
    bound
        The bound when the plan was made.
    """
    if threads is None:
        why = f" ({bound.reason})" if bound.threads == of_blas else ""
        return "" if of_blas is None else f"{of_blas} of BLAS for large products, 1 for small ones{why}"
    count = f"{threads} thread{'s' * (threads > 1)}"
    if threads < bound.threads:
        return f"{count} of at most {bound.threads} ({bound.reason}): more would not pay"
    if threads > bound.threads:
        return f"{count}, as in the plan of the checkpoint ({bound.reason})"
    return f"{count} ({bound.reason})"


def _strictest(bounds: list[ThreadBound]) -> ThreadBound | None:
    # Of equal bounds the last one is named: what somebody asked for explains more than what the machine has.
    return min(reversed(bounds), key=lambda bound: bound.threads, default=None)


def _asked(quota: float | None, wished: int | None, passed: int | None) -> Iterator[ThreadBound]:
    if quota is not None:
        yield ThreadBound(max(1, math.ceil(quota)), f"the container's quota is {quota:g} cores' time")
    if wished is not None:
        yield ThreadBound(wished, f"{VARIABLE}={wished}")
    if passed is not None:
        yield ThreadBound(passed, f"threads={passed}")


def _others(told: tuple[str, ...]) -> Iterator[ThreadBound]:
    for name, value in zip(_OTHERS, told, strict=True):
        number = whole_number(value.split(",")[0].strip())
        if number is not None:
            yield ThreadBound(number, f"{name}={number}")


# Read once: a prediction of one record would wait for the files.
_quota = cache(cpu_quota)
