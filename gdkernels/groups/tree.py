"""Sums over shards in one fixed tree: a group carries bytes, and we add, so that bits depend on the shards alone.

The leaves merge like the digits of a binary counter: two subtrees of the same size become one where the left one begins
at a multiple of both. What is left in the end merges from the right. A rank has the leaves of its shards, which make a
few subtrees. Long vectors are cut by owner: each rank sends its subtrees' cuts to their owners, which go on with the
tree, and all gather the results. Short ones go to everybody, who all do the same sums: one message is less.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.errors import InputError
from gdkernels.groups.contract import Group

__all__ = ["SHORT", "TreeSum", "merged", "rows_of_shard", "shards_of_rank", "subtrees_of"]

Vector = npt.NDArray[Any]

SHORT = 1 << 14  # bytes of a vector that goes to everybody


def shards_of_rank(rank: int, ranks: int, shards: int) -> range:
    """Return the shards of a rank."""
    return range(rank * shards // ranks, (rank + 1) * shards // ranks)


def subtrees_of(rank: int, ranks: int, shards: int) -> list[tuple[int, int]]:
    """Return the first shard of each subtree that a rank has, and how many it has."""
    stack = _Stack()
    for shard in shards_of_rank(rank, ranks, shards):
        stack.push(shard, 1, None)
    return [(first, count) for first, count, _ in stack.subtrees]


def rows_of_shard(shard: int, shards: int, rows: int) -> slice:
    """Return the rows of a shard in a batch of so many."""
    return slice(shard * rows // shards, (shard + 1) * rows // shards)


def merged(leaves: Iterable[Any]) -> Any:
    """Return the sum of the leaves of a whole tree, in its order."""
    stack = _Stack()
    for k, leaf in enumerate(leaves):
        stack.push(k, 1, leaf)
    return stack.root()


class _Stack:
    """Subtrees from the left, which are merged as soon as they are siblings; vectors are added in place."""

    def __init__(self) -> None:
        self.subtrees: list[tuple[int, int, Any]] = []  # the first leaf, the number of leaves, their sum

    def push(self, first: int, leaves: int, value: Any) -> None:
        self.subtrees.append((first, leaves, value))
        while len(self.subtrees) > 1 and self._siblings():
            self._merge()

    def root(self) -> Any:
        while len(self.subtrees) > 1:
            self._merge()
        return self.subtrees[0][2]

    def _siblings(self) -> bool:
        (left, count, _), (_, other, _) = self.subtrees[-2:]
        return count == other and left % (2 * count) == 0

    def _merge(self) -> None:
        _, more, right = self.subtrees.pop()
        first, count, left = self.subtrees.pop()
        if isinstance(left, np.ndarray):
            np.add(left, right, out=left)
        elif left is not None:
            left = left + right
        self.subtrees.append((first, count + more, left))


class TreeSum:
    """The sum of a vector, and of some numbers in float64, over the shards of all ranks.

    Parameters
    ----------
    shards
        The number of shards of all ranks, at least one for each.
    length, dtype
        Those of a vector.
    totals
        How many numbers in float64 go with it.

    Attributes
    ----------
    length, dtype
        Those of a vector.

    Raises
    ------
    InputError
        If there are fewer shards than ranks.
    """

    def __init__(self, group: Group, shards: int, length: int, dtype: npt.DTypeLike, *, totals: int) -> None:
        if shards < group.size:
            raise InputError(f"{shards} shards cannot be shared by {group.size} ranks: take at least as many")
        self._group, self.length, self._bytes = group, length, 8 * totals
        self.dtype = np.dtype(dtype)
        ranks = range(group.size)
        self._of_ranks = [subtrees_of(rank, group.size, shards) for rank in ranks]
        short = length * self.dtype.itemsize <= SHORT
        cuts = [length * rank // group.size for rank in range(group.size + 1)]
        self._cuts = [(0, length)] * group.size if short else [*pairwise(cuts)]
        self._short = short
        self._stack = _Stack()
        self._totals = _Stack()
        # In bytes: the cuts of the subtrees, and behind them the totals of each, all in one message.
        mine, width = len(self._of_ranks[group.rank]), self.dtype.itemsize
        self._sent = [mine * ((stop - start) * width + self._bytes) for start, stop in self._cuts]
        start, stop = self._cuts[group.rank]
        self._received = [len(of) * ((stop - start) * width + self._bytes) for of in self._of_ranks]
        alone = group.size == 1
        self._send = np.empty(0 if alone else self._sent[0] if short else sum(self._sent), np.uint8)
        self._got = np.empty(0 if alone else sum(self._received), np.uint8)
        self._whole = np.empty(0 if alone or short else length, self.dtype)  # its memory is taken when it is used

    @property
    def depth(self) -> int:
        """How many subtrees of this rank wait for the shards to come."""
        return len(self._stack.subtrees)

    def add(self, shard: int, vector: Vector, totals: npt.NDArray[np.float64]) -> None:
        """Add a shard of this rank, one after the other; both are used up."""
        self._stack.push(shard, 1, vector)
        self._totals.push(shard, 1, totals)

    def exchanged(self, into: Vector | None = None) -> tuple[Vector, npt.NDArray[np.float64]]:
        """Return the sums over the shards of all ranks, valid until the next sum is exchanged, or in `into`."""
        mine, totals = self._stack.subtrees, self._totals.subtrees
        self._stack, self._totals = _Stack(), _Stack()
        if self._group.size == 1:
            vector, sums = _root(mine), _root(totals)
        else:
            self._pack([v for _, _, v in mine], [t for _, _, t in totals])
            if self._short:
                self._group.all_gather(self._send, self._got, self._received)
            else:
                self._group.all_to_all(self._send, self._sent, self._got, self._received)
            vector, sums = self._summed()
        if self._group.size > 1 and not self._short:
            whole = self._whole if into is None else into
            self._group.all_gather(vector, whole, [stop - start for start, stop in self._cuts])
            return whole, sums
        if into is not None and vector is not into:
            into[:] = vector
            vector = into
        return vector, sums

    def _pack(self, vectors: list[Vector], totals: list[Vector]) -> None:
        at, width = 0, self.dtype.itemsize
        for start, stop in self._cuts[:1] if self._short else self._cuts:
            n = (stop - start) * width
            for vector in vectors:
                self._send[at : at + n] = vector[start:stop].view(np.uint8)
                at += n
            for total in totals:
                self._send[at : at + self._bytes] = total.view(np.uint8)
                at += self._bytes

    def _summed(self) -> tuple[Vector, Vector]:
        start, stop = self._cuts[self._group.rank]
        at, n = 0, (stop - start) * self.dtype.itemsize
        vectors, totals = _Stack(), _Stack()
        for of in self._of_ranks:
            for first, count in of:
                vectors.push(first, count, _as(self.dtype, self._got[at : at + n]))
                at += n
            for first, count in of:
                totals.push(first, count, _as(np.dtype(np.float64), self._got[at : at + self._bytes]))
                at += self._bytes
        return vectors.root(), totals.root()


def _root(subtrees: list[tuple[int, int, Vector]]) -> Vector:
    stack = _Stack()
    stack.subtrees = subtrees
    found: Vector = stack.root()
    return found


def _as(dtype: np.dtype[Any], part: Vector) -> Vector:
    """Return bytes as numbers that can be added to in place, without a copy where they lie as numbers must."""
    return part.view(dtype) if part.ctypes.data % dtype.itemsize == 0 else part.copy().view(dtype)
