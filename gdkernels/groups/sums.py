"""Sums over the shards of all ranks: a group carries bytes, and we add, in the fixed tree of `gdkernels.groups.tree`.

A rank has the leaves of its shards, which make a few subtrees. Long vectors are cut by owner: each rank sends its
subtrees' cuts to their owners, which go on with the tree and send the results to all. Short ones go to everybody, who
all do the same sums: one message is less. Nothing is copied on its way from where a gradient lies to where its sum is
wanted.
"""

from __future__ import annotations

from itertools import chain, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.errors import InputError, shown
from gdkernels.groups.contract import Group, Message
from gdkernels.groups.tree import SumStack, Vector, pairs_of, subtrees_of
from gdkernels.system.ranges import whole

__all__ = ["SHORT", "TreeSum"]

SHORT = 1 << 14  # bytes of a vector that goes to everybody
_NUMBER = 8  # bytes of one in float64


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
        If there are fewer shards than ranks, or one of these is something else.
    """

    def __init__(self, group: Group, shards: int, length: int, dtype: npt.DTypeLike, *, totals: int) -> None:
        if not isinstance(group, Group):
            raise InputError(f"group must be a gdkernels.groups.Group, got {shown(group)}")
        for name, value, allowed in (
            ("shards", shards, whole(1)),
            ("length", length, whole(0)),
            ("totals", totals, whole(0)),
        ):
            if not allowed.has(value):
                raise InputError(f"{name} must be {allowed.wanted}, got {shown(value)}")
        if shards < group.size:
            raise InputError(f"{shards} shards cannot be shared by {group.size} ranks: take at least as many")
        self._group, self.length, self._count = group, length, totals
        self.dtype = _number_type(dtype)
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


def _number_type(dtype: npt.DTypeLike) -> np.dtype[Any]:
    try:
        found = np.dtype(dtype)
    except (TypeError, ValueError):
        found = None
    if found is None or found.kind not in "iuf":
        raise InputError(f"dtype must be one of numbers, such as float64, got {shown(dtype)}")
    return found


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
        *self._merges, self._last = pairs_of(chain.from_iterable(tree.of_ranks))
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


def _root(subtrees: list[tuple[int, int, Vector]]) -> Vector:
    stack = SumStack()
    stack.subtrees = subtrees
    found: Vector = stack.root()
    return found
