"""The sessions of a GPU that are kept for the next call: memory with captured graphs, which others may need."""

from __future__ import annotations

from functools import cache
from weakref import WeakKeyDictionary

from gdkernels_cupy.batches.session import BatchSession
from gdkernels_cupy.cuda.device import device, free_bytes

__all__ = ["KeptSessions", "kept_sessions"]

_OF_OWNER = 4  # of a structure: for several batch sizes, or numbers of records

Key = tuple[int, int]  # the records of a batch, and of the last one of an epoch


class KeptSessions:
    """Sessions by their owner and their sizes; an owner's go with it."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._of: WeakKeyDictionary[object, dict[Key, BatchSession]] = WeakKeyDictionary()

    def take(self, owner: object, key: Key) -> BatchSession | None:
        """Return a session, which is no longer kept; None if there is none."""
        return self._of.get(owner, {}).pop(key, None)

    def keep(self, owner: object, key: Key, session: BatchSession) -> None:
        """Keep a session as the one used last."""
        mine = self._of.setdefault(owner, {})
        mine[key] = session
        for old in [*mine][:-_OF_OWNER]:
            del mine[old]

    def forget(self, owner: object) -> None:
        """Let an owner's sessions go."""
        self._of.pop(owner, None)

    @property
    def bytes(self) -> int:
        """What they hold of the device's memory, and would give for others."""
        return sum(session.bytes for mine in self._of.values() for session in mine.values())

    def make_room(self, size: int) -> None:
        """Let sessions go, the oldest of each owner first, until so many bytes are free."""
        for mine in list(self._of.values()):
            while mine and free_bytes() < size:
                del mine[next(iter(mine))]

    def release(self) -> None:
        """Let all sessions go, and what is kept of their memory."""
        self._of.clear()
        device(self._number).release()


@cache
def kept_sessions(number: int) -> KeptSessions:
    """Return those of a GPU."""
    return KeptSessions(number)
