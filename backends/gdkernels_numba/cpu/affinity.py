"""A core for each thread of a run: Linux may wake one on the core of another, and leave both there."""

import ctypes
import os
import threading
from collections.abc import Callable
from contextlib import suppress

__all__ = ["TakenCores"]


def _how_to_ask() -> Callable[[], int] | None:
    """Return what tells on which core this thread runs, where it could be moved."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    return getattr(ctypes.CDLL(None), "sched_getcpu", None)


_core = _how_to_ask()


class TakenCores:
    """The cores on which the threads of one run are, that of the thread which makes it first.

    Threads that share a core wait for each other for longer than they work. Both look busy and recently run, which is
    why the scheduler moves neither.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken = set() if _core is None else {_core()}

    def take(self) -> None:
        """Move this thread to a core of its own, if it is on one that is taken and may use another.

        Once there, the thread may use all the cores that it might use before: the system may move it later.
        """
        if _core is None:
            return
        with self._lock:
            if _core() in self._taken:
                allowed = os.sched_getaffinity(0)
                free = allowed - self._taken
                if free:
                    with suppress(OSError):  # not permitted: the thread stays where it is
                        os.sched_setaffinity(0, free)
                        os.sched_setaffinity(0, allowed)
            self._taken.add(_core())
