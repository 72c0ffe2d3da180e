"""Sums over shards in one fixed tree: a group carries bytes, and we add, so that bits depend on the shards alone.

The leaves merge like the digits of a binary counter: two subtrees of the same size become one where the left one begins
at a multiple of both. What is left in the end merges from the right. A rank has the leaves of its shards, which make a
few subtrees. Long vectors are cut by owner: each rank sends its subtrees' cuts to their owners, which go on with the
tree, and all gather the results. Short ones go to everybody, who all do the same sums: one message is less.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.errors import InputError
from gdkernels.groups.contract import Group

__all__ = ["SHORT", "SumStack", "TreeSum", "merged", "rows_of_shard", "shards_of_rank", "subtrees_of"]

Vector = npt.NDArray[Any]

SHORT = 1 << 14  # bytes of a vector that goes to everybody


def shards_of_rank(rank: int, ranks: int, shards: int) -> range:
    """Return the shards of a rank."""
    return range(rank * shards // ranks, (rank + 1) * shards // ranks)


def subtrees_of(rank: int, ranks: int, shards: int) -> list[tuple[int, int]]:
    """Return the first shard of each subtree that a rank has, and how many it has."""
    stack = SumStack()
    for shard in shards_of_rank(rank, ranks, shards):
        stack.push(shard, 1, None)
    return [(first, count) for first, count, _ in stack.subtrees]


def rows_of_shard(shard: int, shards: int, rows: int) -> slice:
    """Return the rows of a shard in a batch of so many."""
    return slice(shard * rows // shards, (shard + 1) * rows // shards)


def merged(leaves: Iterable[Any]) -> Any:
    """Return the sum of the leaves of a whole tree, in its order."""
    stack = SumStack()
    for k, leaf in enumerate(leaves):
        stack.push(k, 1, leaf)
    return stack.root()


class SumStack:
    """Subtrees from the left, which are merged as soon as they are siblings.

    Vectors are added in place; of everything else, the left one plus the right one takes the place of the left.
    """

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
        self._group, self.length, self._count = group, length, totals
        self.dtype = np.dtype(dtype)
        self._of_ranks = [subtrees_of(rank, group.size, shards) for rank in range(group.size)]
        self._stack, self._totals = SumStack(), SumStack()
        if group.size > 1:
            short = length * self.dtype.itemsize <= SHORT
            self._messages = _ToEverybody(self) if short else _ToOwners(self)

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
        self._stack, self._totals = SumStack(), SumStack()
        if self._group.size == 1:
            vector, sums = _root(mine), _root(totals)
        else:
            vectors, numbers = [v for _, _, v in mine], [t for _, _, t in totals]
            vector, sums = self._messages.exchanged(vectors, numbers, into)
        if into is not None and vector is not into:
            into[:] = vector
            vector = into
        return vector, sums

    @property
    def group(self) -> Group:
        return self._group

    @property
    def of_ranks(self) -> list[list[tuple[int, int]]]:
        """The subtrees of each rank: the first shard, and how many."""
        return self._of_ranks

    @property
    def totals(self) -> int:
        """How many numbers in float64 go with a vector."""
        return self._count


class _ToEverybody:
    """Short vectors: each rank sends its subtrees, with their totals, and all do the same sums."""

    def __init__(self, tree: TreeSum) -> None:
        self._tree, self._width = tree, tree.length * tree.dtype.itemsize + 8 * tree.totals
        self._counts = [len(of) * self._width for of in tree.of_ranks]
        self._send = np.empty(self._counts[tree.group.rank], np.uint8)
        self._got = np.empty(sum(self._counts), np.uint8)

    def exchanged(self, vectors: list[Vector], totals: list[Vector], into: Vector | None) -> tuple[Vector, Vector]:
        tree, at, stop = self._tree, 0, self._width - 8 * self._tree.totals
        for vector, numbers in zip(vectors, totals, strict=True):
            self._send[at : at + stop] = vector.view(np.uint8)
            self._send[at + stop : at + self._width] = numbers.view(np.uint8)
            at += self._width
        tree.group.all_gather(self._send, self._got, self._counts)
        found, sums, at = SumStack(), SumStack(), 0
        for of in tree.of_ranks:
            for first, count in of:
                found.push(first, count, _as(tree.dtype, self._got[at : at + stop]))
                sums.push(first, count, _as(np.dtype(np.float64), self._got[at + stop : at + self._width]))
                at += self._width
        return found.root(), sums.root()


class _ToOwners:
    """Long vectors: a rank owns a cut of each, which the others send it from where it lies, one subtree at a time."""

    def __init__(self, tree: TreeSum) -> None:
        self._tree, ranks, rank = tree, tree.group.size, tree.group.rank
        self._cuts = np.diff([tree.length * r // ranks for r in range(ranks + 1)]).tolist()
        self._of_totals = [len(of) * tree.totals for of in tree.of_ranks]
        self._rounds = range(max(map(len, tree.of_ranks)))
        self._received = [[self._cuts[rank] * (k < len(of)) for of in tree.of_ranks] for k in self._rounds]
        self._got = [np.empty(sum(counts), tree.dtype) for counts in self._received]
        self._whole: Vector | None = None

    def exchanged(self, vectors: list[Vector], totals: list[Vector], into: Vector | None) -> tuple[Vector, Vector]:
        tree, group, mine = self._tree, self._tree.group, self._cuts[self._tree.group.rank]
        none = np.empty(0, tree.dtype)
        for k in self._rounds:
            send, sent = (vectors[k], self._cuts) if k < len(vectors) else (none, [0] * group.size)
            group.all_to_all(send, sent, self._got[k], self._received[k])
        numbers = np.empty(sum(self._of_totals))
        group.all_gather(np.concatenate(totals), numbers, self._of_totals)
        found, sums, at = SumStack(), SumStack(), 0
        for rank, of in enumerate(tree.of_ranks):
            for k, (first, count) in enumerate(of):
                begin = sum(self._received[k][:rank])
                found.push(first, count, self._got[k][begin : begin + mine])
                sums.push(first, count, numbers[at : at + tree.totals])
                at += tree.totals
        if into is None:
            into = self._whole = np.empty(tree.length, tree.dtype) if self._whole is None else self._whole
        group.all_gather(found.root(), into, self._cuts)
        return into, sums.root()


def _root(subtrees: list[tuple[int, int, Vector]]) -> Vector:
    stack = SumStack()
    stack.subtrees = subtrees
    found: Vector = stack.root()
    return found


def _as(dtype: np.dtype[Any], part: Vector) -> Vector:
    """Return bytes as numbers that can be added to in place, without a copy where they lie as numbers must."""
    return part.view(dtype) if part.ctypes.data % dtype.itemsize == 0 else part.copy().view(dtype)
