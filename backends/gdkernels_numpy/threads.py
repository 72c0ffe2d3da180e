"""One thread for small products: NumPy's BLAS starts all it can for products that one thread does in microseconds.

Its threads wait for each other in a loop. Where another process has one of the cores, a product of 3e7 FLOPs took 24 ms
on two threads instead of 0.25 ms on one, and a training of one second took a minute.
"""

import ctypes
import importlib
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache

__all__ = ["one_thread_for"]

# About 2 ms on one core: with more to do, several threads are worth their waiting for each other.
SMALL = 100_000_000

# OpenBLAS under the names that it has in NumPy's wheels, and where a distribution builds it.
_NAMES = ("scipy_openblas_{}_num_threads64_", "scipy_openblas_{}_num_threads", "openblas_{}_num_threads")


def one_thread_for(flops: int) -> AbstractContextManager[None]:
    """Return a context in which products run on one thread if the largest takes few `flops`."""
    limit = _limit() if flops <= SMALL else None
    return nullcontext() if limit is None else limit


class OneThread(AbstractContextManager[None]):
    """Products on one thread, for the whole process, until the last `with` on this object ends."""

    def __init__(self, get: Callable[[], int], set_: Callable[[int], None]) -> None:
        self._get, self._set = get, set_
        self._lock = threading.Lock()
        self._inside = 0
        self._before = 1

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._before = self._get()
                self._set(1)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._set(self._before)


@cache
def _limit() -> OneThread | None:
    """Return what limits the OpenBLAS of NumPy; None where NumPy uses another BLAS."""
    try:  # loaded already: this finds it, and what it is linked to
        library = ctypes.CDLL(importlib.import_module("numpy._core._multiarray_umath").__file__)
    except (ImportError, OSError):
        return None
    for name in _NAMES:
        if hasattr(library, name.format("set")):
            return OneThread(getattr(library, name.format("get")), getattr(library, name.format("set")))
    return None
