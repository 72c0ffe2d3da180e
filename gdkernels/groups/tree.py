"""Sums over shards in one fixed tree: a group carries bytes, and we add, so that bits depend on the shards alone.

The leaves merge like the digits of a binary counter: two subtrees of the same size become one where the left one begins
at a multiple of both. What is left in the end merges from the right. A rank has the leaves of its shards, which make a
few subtrees. Long vectors are cut by owner: each rank sends its subtrees' cuts to their owners, which go on with the
tree and send the results to all. Short ones go to everybody, who all do the same sums: one message is less. Nothing is
copied on its way from where a gradient lies to where its sum is wanted.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.errors import InputError
from gdkernels.groups.contract import Group, Message

__all__ = ["SHORT", "SumStack", "TreeSum", "merged", "rows_of_shard", "shards_of_rank", "subtrees_of"]

Vector = npt.NDArray[Any]

SHORT = 1 << 14  # bytes of a vector that goes to everybody
_NUMBER = 8  # bytes of one in float64


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

    Parameters
    ----------
    leaves, into
        The number of all leaves, and the place for the sum of them; that of the left one is another choice.
    """

    def __init__(self, leaves: int = 0, into: Vector | None = None) -> None:
        self._leaves, self._into = leaves, into
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
            whole = self._into is not None and count + more == self._leaves
            left = np.add(left, right, out=self._into if whole else left)
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
    shards
        Their number.
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
        self.shards = shards
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
    """Short vectors: each rank sends its subtrees, with their totals, and all do the same sums.

    A message is as long as what it carries takes, or less: so everything has its place once and for all, and so have
    the messages.
    """

    def __init__(self, tree: TreeSum) -> None:
        self._rank, size = tree.group.rank, tree.length * tree.dtype.itemsize
        stop = -(-size // _NUMBER) * _NUMBER  # where numbers in float64 may lie
        width = stop + _NUMBER * tree.totals
        got = [np.zeros(len(of) * width, np.uint8) for of in tree.of_ranks]
        self._places = [
            [
                (part[at : at + size].view(tree.dtype), part[at + stop : at + width].view(np.float64))
                for at in range(0, len(part), width)
            ]
            for part in got
        ]
        self._subtrees = [place for places in self._places for place in places]
        *self._merges, self._last = _merges(tree.of_ranks)
        others = tree.group.others
        self._exchange = tree.group.repeated([(r, got[self._rank]) for r in others], [(r, got[r]) for r in others])

    def exchanged(self, vectors: list[Vector], totals: list[Vector], into: Vector | None) -> tuple[Vector, Vector]:
        for (vector, numbers), mine, added in zip(self._places[self._rank], vectors, totals, strict=True):
            vector[:], numbers[:] = mine, added
        self._exchange()
        found, add = self._subtrees, np.add
        for k, j in self._merges:
            (left, sums), (right, more) = found[k], found[j]
            add(left, right, left)
            add(sums, more, sums)
        (left, sums), (right, more) = (found[k] for k in self._last)
        return add(left, right, left if into is None else into), add(sums, more)


class _ToOwners:
    """Long vectors: a rank owns a cut of each, which the others send it from where it lies."""

    def __init__(self, tree: TreeSum) -> None:
        ranks, rank = tree.group.size, tree.group.rank
        edges = [tree.length * r // ranks for r in range(ranks + 1)]
        self._tree, self._cuts = tree, [slice(*edge) for edge in pairwise(edges)]
        counts = [len(of) * (r != rank) for r, of in enumerate(tree.of_ranks)]  # our own lie where they are
        self._got = [np.empty((count, edges[rank + 1] - edges[rank]), tree.dtype) for count in counts]
        self._totals = [np.empty((count, tree.totals)) for count in counts]
        self._whole: Vector | None = None

    def exchanged(self, vectors: list[Vector], totals: list[Vector], into: Vector | None) -> tuple[Vector, Vector]:
        tree, group = self._tree, self._tree.group
        mine, others, numbers = self._cuts[group.rank], group.others, np.stack(totals)
        sent: list[Message] = [(rank, numbers) for rank in others]
        sent += [(rank, vector[self._cuts[rank]]) for rank in others for vector in vectors]
        got: list[Message] = [(rank, self._totals[rank]) for rank in others]
        got += [(rank, cut) for rank in others for cut in self._got[rank]]
        group.exchange(sent, got)
        if into is None:
            into = self._whole = np.empty(tree.length, tree.dtype) if self._whole is None else self._whole
        found, sums = SumStack(tree.shards, into[mine]), SumStack()
        for rank, of in enumerate(tree.of_ranks):
            own = rank == group.rank
            cuts, added = ([v[mine] for v in vectors], numbers) if own else (self._got[rank], self._totals[rank])
            for (first, count), cut, one in zip(of, cuts, added, strict=True):
                found.push(first, count, cut)
                sums.push(first, count, one)
        summed = found.root()
        group.exchange([(rank, summed) for rank in others], [(rank, into[self._cuts[rank]]) for rank in others])
        return into, sums.root()


class _NotedLeaf:
    """A leaf that notes whom it is merged with."""

    def __init__(self, number: int, merges: list[tuple[int, int]]) -> None:
        self._number, self._merges = number, merges

    def __add__(self, other: _NotedLeaf) -> _NotedLeaf:
        self._merges.append((self._number, other._number))
        return self


def _merges(of_ranks: Iterable[Iterable[tuple[int, int]]]) -> list[tuple[int, int]]:
    """Return by their numbers which subtrees are merged, one pair after the other; the left one becomes their sum."""
    stack, merges = SumStack(), list[tuple[int, int]]()
    for number, (first, count) in enumerate(chain.from_iterable(of_ranks)):
        stack.push(first, count, _NotedLeaf(number, merges))
    stack.root()
    return merges


def _root(subtrees: list[tuple[int, int, Vector]]) -> Vector:
    stack = SumStack()
    stack.subtrees = subtrees
    found: Vector = stack.root()
    return found
