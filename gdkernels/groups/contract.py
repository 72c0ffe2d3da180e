"""The contract between gdkernels and a group of processes, which a plug-in fulfils."""

from __future__ import annotations

import json
import math
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import accumulate
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from gdkernels.errors import InputError

__all__ = ["Bytes", "Group", "Message", "offsets"]

_HEADER = 8  # bytes before numbers of all ranks, which say how many there are: ranks may be in different calls

Bytes = npt.NDArray[np.uint8]
Message = tuple[int, npt.NDArray[Any]]  # the other rank, and what lies in one piece


class Group(ABC):
    """Several processes, the ranks, that train one network together.

    A plug-in moves bytes: it implements `carry_to_each`, `carry_to_all`, `abort` and `unavailable`. The rest is ours,
    on top of these, and checks every length before anything is sent. All ranks call the same methods in the same order.

    Attributes
    ----------
    name
        The name that users give, that of its entry point.
    rank, size
        The number of this process, from 0, and how many there are.
    local_rank, local_size
        The same among the processes of this machine.
    """

    name: ClassVar[str]
    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    _process: int  # that this rank is
    _in_call: threading.RLock

    def __new__(cls, *args: Any, **more: Any) -> Self:
        made = super().__new__(cls)
        made._process, made._in_call = os.getpid(), threading.RLock()
        return made

    @classmethod
    def unavailable(cls) -> str | None:
        """Return why there can be no such group here, with the command that would fix it; None if there can.

        It is asked before the class is called, which joins the group.
        """
        return None

    # ---- what a plug-in implements

    @abstractmethod
    def carry_to_each(self, send: Bytes, sent: Sequence[int], got: Bytes, received: Sequence[int]) -> None:
        """Send so many bytes of `send` to each rank, one behind the other, and receive so many of each in `got`."""

    @abstractmethod
    def carry_to_all(self, send: Bytes, got: Bytes, received: Sequence[int]) -> None:
        """Send all of `send` to every rank, and receive so many bytes of each in `got`, one behind the other."""

    @abstractmethod
    def abort(self, code: int) -> None:
        """End all ranks at once with this exit code; it does not return."""

    def carry_messages(self, sent: Sequence[tuple[int, Bytes]], got: Sequence[tuple[int, Bytes]]) -> None:
        """Send messages to other ranks from where they lie, and receive those of others where they are wanted.

        Each has the number of the other rank. Those between the same two ranks come in their order. A group that can
        do without copies implements it; by default they are put together for `carry_to_each`.
        """
        to, of = (
            [sum(part.size for rank, part in some if rank == r) for r in range(self.size)] for some in (sent, got)
        )
        send, found = (np.empty(sum(counts), np.uint8) for counts in (to, of))
        for (_, part), place in zip(*_together(sent, send), strict=True):
            place[:] = part
        self.carry_to_each(send, to, found, of)
        for (_, part), place in zip(*_together(got, found), strict=True):
            part[:] = place

    def carry_repeatedly(
        self, sent: Sequence[tuple[int, Bytes]], got: Sequence[tuple[int, Bytes]]
    ) -> Callable[[], None]:
        """Return what carries the same messages, as `carry_messages` does, whenever it is called.

        A group that can prepare them implements it.
        """
        return partial(self.carry_messages, sent, got)

    def all_stop_here(self, seconds: float) -> bool:
        """Return whether all ranks call this within so many seconds of each other, as after an error that all have.

        Other messages may be on their way. A group that cannot tell says no, and is then aborted.
        """
        return self.size == 1

    # ---- what is ours

    @property
    def others(self) -> list[int]:
        """The other ranks from the next on, so that not all begin with the same one."""
        return [(self.rank + k) % self.size for k in range(1, self.size)]

    @contextmanager
    def one_call(self) -> Iterator[None]:
        """Be in a call of all ranks, such as a fit: one thread of a rank at a time.

        Raises
        ------
        InputError
            If another thread is in one, or if this process was forked from a rank, and is none.
        """
        if self.size == 1:
            yield
            return
        if os.getpid() != self._process:
            raise InputError(
                f"this process was forked from rank {self.rank} of {self.size}, and is no rank: leave out group="
            )
        if not self._in_call.acquire(blocking=False):
            raise InputError(
                f"another thread of rank {self.rank} is in a call of all ranks: make one after the other, in the same "
                "order on each"
            )
        try:
            yield
        finally:
            self._in_call.release()

    def all_to_all(
        self, send: npt.NDArray[Any], sent: Sequence[int], got: npt.NDArray[Any], received: Sequence[int]
    ) -> None:
        """Send so many entries of `send` to each rank, and receive so many of each in `got`.

        Raises
        ------
        InputError
            If the lengths do not fit the arrays, or each other where both are known.
        """
        self._check("send", send, sent, sum(sent))
        self._check("got", got, received, sum(received))
        if send.dtype != got.dtype or sent[self.rank] != received[self.rank]:
            raise InputError("what a rank sends to itself is what it receives, in one type")
        width = send.itemsize
        self.carry_to_each(_bytes(send), [n * width for n in sent], _bytes(got), [n * width for n in received])

    def all_gather(self, send: npt.NDArray[Any], got: npt.NDArray[Any], received: Sequence[int]) -> None:
        """Send all of `send` to every rank, and receive so many entries of each in `got`; raises as `all_to_all`."""
        self._check("send", send, received, received[self.rank])
        self._check("got", got, received, sum(received))
        if send.dtype != got.dtype:
            raise InputError("what a rank sends has the type of what it receives")
        self.carry_to_all(_bytes(send), _bytes(got), [n * send.itemsize for n in received])

    def exchange(self, sent: Sequence[Message], got: Sequence[Message]) -> None:
        """Send arrays to other ranks, and receive theirs; each comes with the number of the other rank.

        Those between the same two ranks come in their order, and have the lengths that the other one knows.

        Raises
        ------
        InputError
            If there is no such other rank, or an array is not in one piece.
        """
        self._check_messages(sent, got)
        if self.size > 1:
            self.carry_messages(_not_empty(sent), _not_empty(got))

    def repeated(self, sent: Sequence[Message], got: Sequence[Message]) -> Callable[[], None]:
        """Return what exchanges the same arrays whenever it is called; raises as `exchange`."""
        self._check_messages(sent, got)
        return self.carry_repeatedly(_not_empty(sent), _not_empty(got))

    def gather_bytes(self, data: bytes) -> list[bytes]:
        """Return what each rank gives, in the order of the ranks; the lengths may differ."""
        if self.size == 1:
            return [data]
        lengths = self.gather_numbers([len(data)], np.int64)[:, 0].tolist()
        got = np.empty(sum(lengths), np.uint8)
        self.all_gather(np.frombuffer(data, np.uint8), got, lengths)
        stops = [*accumulate(lengths)]
        return [got[stop - n : stop].tobytes() for n, stop in zip(lengths, stops, strict=True)]

    def gather_numbers(self, numbers: Sequence[Any] | npt.NDArray[Any], dtype: Any = np.float64) -> npt.NDArray[Any]:
        """Return the numbers of each rank, [ranks, numbers]; all give as many.

        Raises
        ------
        InputError
            If they do not, as ranks in different calls.
        """
        mine = np.ascontiguousarray(numbers, dtype)
        if self.size == 1:
            return mine.reshape(1, -1)
        sent = np.zeros(_HEADER + -(-mine.nbytes // _HEADER) * _HEADER, np.uint8)
        sent[:_HEADER].view(np.int64)[0] = mine.nbytes
        sent[_HEADER : _HEADER + mine.nbytes] = _bytes(mine)
        got = np.zeros((self.size, len(sent)), np.uint8)
        self.all_gather(sent, got.reshape(-1), [len(sent)] * self.size)
        for rank, size in enumerate(got[:, :_HEADER].copy().view(np.int64).ravel().tolist()):
            if size != mine.nbytes:
                raise InputError(
                    f"rank {rank} tells {size} bytes where rank {self.rank} tells {mine.nbytes}: the ranks do not make "
                    "the same calls; have all of them train alike, in callbacks too"
                )
        return got[:, _HEADER : _HEADER + mine.nbytes].copy().view(mine.dtype)

    def gather_json(self, told: Any) -> list[Any]:
        """Return what each rank tells, as JSON can hold it."""
        return [json.loads(one) for one in self.gather_bytes(json.dumps(told).encode())]

    def broadcast(self, data: bytes | None, source: int = 0) -> bytes:
        """Return the data of one rank; what the others give does not matter."""
        return self.gather_bytes(data if data is not None and self.rank == source else b"")[source]

    def barrier(self) -> None:
        """Wait until all ranks are here."""
        self.gather_numbers([0], np.uint8)

    def any(self, flag: bool) -> bool:
        """Return whether any rank says so."""
        return bool(self.gather_numbers([flag], np.uint8).any())

    def _check(self, name: str, array: npt.NDArray[Any], counts: Sequence[int], total: int) -> None:
        if len(counts) != self.size or min(counts) < 0:
            raise InputError(f"there are {self.size} ranks, and {name} has the lengths {list(counts)}")
        if not array.flags.c_contiguous or array.size != total:
            raise InputError(f"{name} must be an array of {total} entries in one piece, got {list(array.shape)}")

    def _check_messages(self, sent: Sequence[Message], got: Sequence[Message]) -> None:
        for rank, array in (*sent, *got):
            if not 0 <= rank < self.size or rank == self.rank:
                raise InputError(f"rank {self.rank} of {self.size} cannot exchange anything with rank {rank}")
            if not array.flags.c_contiguous:
                raise InputError(f"what ranks exchange must be in one piece, got {list(array.shape)} apart")

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_process", "_in_call")}

    def __deepcopy__(self, memo: dict[int, Any]) -> Group:
        return self  # as of a process, there is one; scikit-learn copies what an estimator was given

    def __repr__(self) -> str:
        return f"{type(self).__name__}(rank {self.rank} of {self.size})"


def offsets(counts: Sequence[int]) -> list[int]:
    """Return where each part begins if so many come one behind the other."""
    return [0, *accumulate(counts)][:-1]


def _together(messages: Sequence[tuple[int, Bytes]], whole: Bytes) -> tuple[list[tuple[int, Bytes]], list[Bytes]]:
    """Return messages in the order of the other ranks, and the place of each in `whole`, one behind the other."""
    ordered = sorted(messages, key=lambda message: message[0])
    stops = [*accumulate(part.size for _, part in ordered)]
    return ordered, [whole[stop - part.size : stop] for (_, part), stop in zip(ordered, stops, strict=True)]


def _not_empty(messages: Sequence[Message]) -> list[tuple[int, Bytes]]:
    return [(rank, _bytes(array)) for rank, array in messages if array.size]


def _bytes(array: npt.NDArray[Any]) -> Bytes:
    if not math.prod(array.shape):
        return np.empty(0, np.uint8)
    return array.reshape(-1).view(np.uint8)
