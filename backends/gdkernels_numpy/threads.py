"""One thread for small products: NumPy's BLAS starts all it can for products that one thread does in microseconds.

Its threads wait for each other in a loop. Where another process has one of the cores, a product of 3e7 FLOPs took 24 ms
on two threads instead of 0.25 ms on one, and a training of one second took a minute.
"""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache

__all__ = ["one_thread_for"]

# About 2 ms on one core: with more to do, several threads are worth their waiting for each other.
SMALL = 100_000_000


def one_thread_for(flops: int) -> AbstractContextManager[None]:
    """Return a context in which products run on one thread if the largest takes few `flops`."""
    return _limit() if flops <= SMALL else nullcontext()


class OneThread(AbstractContextManager[None]):
    """Products on one thread, for the whole process, until the last `with` on this object ends.

    Parameters
    ----------
    libraries
        For each BLAS, what tells its number of threads, and what sets it.
    """

    def __init__(self, libraries: list[tuple[Callable[[], int], Callable[[int], object]]]) -> None:
        self._libraries = libraries
        self._lock = threading.Lock()
        self._inside = 0
        self._before: list[int] = []

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._before = [get() for get, _ in self._libraries]
                for _, put in self._libraries:
                    put(1)
            self._inside += 1

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                for (_, restore), number in zip(self._libraries, self._before, strict=True):
                    restore(number)


@cache
def _limit() -> OneThread:
    from threadpoolctl import ThreadpoolController

    # Its own context managers restore what they found, which is wrong where two Python threads overlap: hence ours.
    found = ThreadpoolController().select(user_api="blas").lib_controllers
    return OneThread([(library.get_num_threads, library.set_num_threads) for library in found])
