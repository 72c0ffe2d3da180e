"""The number of threads of a product: NumPy's BLAS starts all it can, even for products of microseconds.

The threads of BLAS wait for each other in a loop. When another process had one of the cores, a product of 3e7 FLOPs
took 24 ms on two threads instead of 0.25 ms on one, and a training of one second took a minute.

The number belongs to the process, and the bits of a product depend on it. So Python threads whose products want
different numbers take turns: none changes what another computes.
"""

import os
import platform
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from itertools import product
from typing import Any

from gdkernels.system.threads import asked_bound

__all__ = ["blas_threads", "threads_for"]

# About 2 ms on one core: larger products are worth the waiting of threads for each other.
SMALL = 100_000_000

# OpenBLAS computes small products on one thread, whatever the number is: nobody has to set it, or to wait, and bits are
# the same. A matrix and a vector it divides from 9,216 multiply-adds on, two matrices from 262,144 on (its interface/
# gemv.c and gemm.c). Since 0.3.28 a matrix and a vector have more than matrices there, but on Arm. Two vectors are
# divided from 10,000 numbers on (kernel/x86_64/ddot.c), which is less.
_ALONE = 18_000
_ALONE_SINCE, _ALONE_IN_LAYERS, _LONGEST = (0, 3, 28), 2 * 262_144, 10_000
_X86 = frozenset({"x86_64", "AMD64", "amd64"})


def threads_for(flops: int, longest: int | None = None) -> AbstractContextManager[None]:
    """Return a context in which products run on one thread if the largest takes few `flops`, or else on all allowed.

    Parameters
    ----------
    longest
        The largest dimension of their operands, where matrices are multiplied and nothing else is done.
    """
    if flops <= (_alone() if longest is None or longest > _LONGEST else _alone_in_layers()):
        return _NOTHING
    return _turns().taken(1 if flops <= SMALL else _allowed())


def blas_threads() -> int:
    """Return how many threads large products run on."""
    most, allowed = _turns().most(), _allowed()
    return most if allowed is None else min(most, allowed)


def _allowed() -> int | None:
    """Return the most threads that somebody or a container's quota allows; None leaves the number to BLAS."""
    bound = asked_bound()
    return None if bound is None else bound.threads


_NOTHING = nullcontext()  # it has no state


class _Own(threading.local):
    """The state that each Python thread has for itself."""

    inside = False


class Turns:
    """Sets the most threads of products, or leaves as many as there were, for the whole process within `taken`.

    Parameters
    ----------
    libraries
        For each BLAS, a function that returns its number of threads, and one that sets it.
    """

    def __init__(self, libraries: list[tuple[Callable[[], int], Callable[[int], object]]]) -> None:
        self._libraries = libraries
        self._before: list[int] = []
        self._begin()

    def before_fork(self) -> None:
        """Wait until no other thread is in a product on several: a fork ends BLAS's, which it would wait for.

        `after_fork_in_parent` or `after_fork` follows.
        """
        self._lock.acquire()
        if not self._own.inside:
            self._waiting[1] += 1  # as one of a small product: no other large one begins
            try:
                self._turn.wait_for(lambda: self._most == 1 or not self._inside)
            finally:
                self._waiting[1] -= 1
                self._turn.notify_all()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._lock.release()

    def after_fork(self) -> None:
        """Begin anew after a fork, because the threads that were inside are not in this process."""
        if self._inside and self._most is not None:
            self._set(self._before)
        self._begin()

    def _begin(self) -> None:
        # Used as a lock, which is not Python code: no interrupt comes between it and its `with`.
        self._lock = threading.RLock()
        self._turn = threading.Condition(self._lock)
        self._own = _Own()
        self._most: int | None = None
        self._inside = 0
        self._waiting: Counter[int | None] = Counter()

    def most(self) -> int:
        """Return the number of threads of products that nobody bounds."""
        with self._lock:
            return max(self._before if self._inside and self._most is not None else self._now(), default=1)

    @contextmanager
    def taken(self, most: int | None) -> Iterator[None]:
        """Wait for those who want another number to end; inside another context of this thread, the number stays."""
        if self._own.inside:
            yield
            return
        interrupted = None
        try:
            self._enter(most)
            yield
        finally:
            while self._own.inside:
                try:
                    self._leave()
                except KeyboardInterrupt as error:  # on the way out, which is gone to its end
                    interrupted = error
            if interrupted is not None:
                raise interrupted

    def _enter(self, most: int | None) -> None:
        with self._lock:
            if not self._is_next(most):  # as it is nearly always, which a prediction of one record notices
                self._waiting[most] += 1
                try:
                    self._turn.wait_for(lambda: self._is_next(most))
                finally:
                    self._waiting[most] -= 1
                    self._turn.notify_all()  # those that let this one go first
            first = not self._inside
            if first:
                self._before = self._now()
            self._most, self._inside, self._own.inside = most, self._inside + 1, True
            if first and most is not None:
                self._set([min(most, before) for before in self._before])

    def _is_next(self, most: int | None) -> bool:
        if self._most == most:
            return self._waiting.total() == self._waiting[most]  # or the others would never come in
        return not self._inside

    def _leave(self) -> None:
        with self._lock:
            if self._inside == 1 and self._most is not None:
                self._set(self._before)
            self._turn.notify_all()
            self._inside, self._own.inside = self._inside - 1, False

    def _now(self) -> list[int]:
        return [get() for get, _ in self._libraries]

    def _set(self, numbers: list[int]) -> None:
        for (_, put), number in zip(self._libraries, numbers, strict=True):
            put(number)


@cache
def _libraries() -> list[Any]:
    from threadpoolctl import ThreadpoolController

    return list(ThreadpoolController().select(user_api="blas").lib_controllers)


@cache
def _alone() -> int:
    """Return the FLOPs up to which each BLAS computes a product on one thread."""
    return _ALONE if all(library.internal_api == "openblas" for library in _libraries()) else -1


@cache
def _alone_in_layers() -> int:
    """Return the same for products of matrices none of whose dimensions is long."""
    recent = all(_version(library) >= _ALONE_SINCE for library in _libraries())
    return _ALONE_IN_LAYERS if _alone() > 0 and recent and platform.machine() in _X86 else _alone()


def _version(library: Any) -> tuple[int, ...]:
    """Return the first three numbers of a library's version, or none that is recent."""
    found = re.match(r"(\d+)\.(\d+)\.(\d+)", library.version or "")
    return tuple(map(int, found.groups())) if found else ()


def _functions(library: Any) -> tuple[Callable[[], int], Callable[[int], object]]:
    """Return what returns a library's number of threads, and what sets it.

    Of OpenBLAS those are its own two: where a Python thread has set the number, threadpoolctl 3.8 ignores all other
    threads as long as that one lives, and they would compute on as many threads as there are.
    """
    if library.internal_api == "openblas" and library.threading_layer != "openmp":
        for prefix, suffix in product(("", "scipy_"), ("", "64_", "_64")):
            names = (f"{prefix}openblas_{verb}_num_threads{suffix}" for verb in ("get", "set"))
            get, put = (getattr(library.dynlib, name, None) for name in names)
            if get is not None and put is not None:
                return get, put
    return library.get_num_threads, library.set_num_threads


@cache
def _turns() -> Turns:
    # The context managers of threadpoolctl restore what they found, which is wrong where two Python threads overlap.
    turns = Turns([_functions(library) for library in _libraries()])
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=turns.before_fork, after_in_parent=turns.after_fork_in_parent, after_in_child=turns.after_fork
        )
    return turns
