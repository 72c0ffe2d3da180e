"""Ranks that wait for each other in different calls, found out: as after batches that are fewer on one of them."""

from __future__ import annotations

import struct
import sys
import time
from typing import Any, NamedTuple, NoReturn

from gdkernels.errors import InputError
from gdkernels.groups.contract import Group

__all__ = ["GRADIENTS", "PARTS", "TOLD", "CallsApart", "RankCall"]

GRADIENTS, TOLD, PARTS = range(3)
_KINDS = ("gradients", "what the ranks tell each other", "its part of what the others have")
_FORM = struct.Struct("<3q")
_WAITS = 3  # the tag of what is told
_APART = 0.2  # seconds between ranks that find it out: one of them says it


class RankCall(NamedTuple):
    """A call of all ranks: which of them, from the first on, what it is about, and how many bytes each rank gets."""

    number: int
    kind: int
    size: int

    def __str__(self) -> str:
        return f"{f'{self.size} bytes of ' if self.size else ''}{_KINDS[self.kind]}"


class CallsApart:
    """What ranks that wait for long tell each other: those that wait in different calls would do so for ever."""

    def __init__(self, group: Group, ends: Any, mpi: Any) -> None:
        self._group, self._ends, self._mpi = group, ends, mpi
        self._told: RankCall | None = None
        self._of_others: dict[int, RankCall] = {}
        self._sent: list[tuple[Any, bytearray]] = []
        self._since: float | None = None

    def look(self, mine: RankCall) -> None:
        """Tell the others in which call this rank waits, and end all ranks if one of them waits in another."""
        if mine != self._told:
            self._told, self._since = mine, None
            self._sent = [(request, data) for request, data in self._sent if not request.Test()]
            for rank in self._group.others:
                data = bytearray(_FORM.pack(*mine))
                self._sent.append((self._ends.Isend([data, self._mpi.BYTE], rank, _WAITS), data))
        self.clear()
        for rank, other in self._of_others.items():
            if other.number == mine.number and other != mine:
                self._since = self._since or time.monotonic()
                if time.monotonic() - self._since >= _APART * min(self._group.rank, 8):  # one of them says it
                    self._end(rank, mine, other)

    def clear(self) -> None:
        """Hear what the others have told."""
        status = self._mpi.Status()
        while self._ends.Iprobe(self._mpi.ANY_SOURCE, _WAITS, status):
            data = bytearray(_FORM.size)
            self._ends.Recv([data, self._mpi.BYTE], status.Get_source(), _WAITS)
            self._of_others[status.Get_source()] = RankCall(*_FORM.unpack(data))

    def _end(self, rank: int, mine: RankCall, other: RankCall) -> NoReturn:
        me = self._group.rank
        print(
            f"gdkernels: rank {me} of {self._group.size}: it waits for {mine}, and rank {rank} for {other}: the ranks "
            "do not make the same calls; give all of them the same batches, and have them train alike",
            file=sys.__stderr__,
            flush=True,
        )
        self._group.abort(InputError.exit_code)
        raise AssertionError("a group that is aborted has ended")
