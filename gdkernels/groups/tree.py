"""The fixed tree in which all sums over a batch are made, whoever computes its parts.

A batch is cut into leaves: the pieces that threads share, or the shards that ranks share, and pieces of these. Leaves
merge like the digits of a binary counter: two subtrees of the same size become one where the left one begins at a
multiple of both. What is left in the end merges from the right. So bits follow from the leaves, and not from threads
or ranks. If every shard is cut into a power of two of pieces, the tree over the shards goes on that over the pieces:
together it is the tree over all pieces.

The CPU engine compiles `first_row` and `merges_after` into its interpreter.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.errors import InputError, shown
from gdkernels.system.ranges import whole

__all__ = [
    "SumStack", "first_row", "merged", "merges_after", "pairs_of", "rows_of_shard", "shards_of_rank", "subtrees_of",
]  # fmt: skip

Vector = npt.NDArray[Any]


def shards_of_rank(rank: int, ranks: int, shards: int) -> range:
    """Return the shards of a rank.

    Raises
    ------
    InputError
        If `rank` is none of them, or one is no whole number.
    """
    if not (type(rank) is type(ranks) is type(shards) is int and 0 <= rank < ranks and shards >= 0):
        _refuse({"rank": rank, "ranks": ranks, "shards": shards})
    return range(rank * shards // ranks, (rank + 1) * shards // ranks)


def subtrees_of(rank: int, ranks: int, shards: int) -> list[tuple[int, int]]:
    """Return the first shard of each subtree that a rank has, and how many it has."""
    stack = SumStack()
    for shard in shards_of_rank(rank, ranks, shards):
        stack.push(shard, 1, None)
    return [(first, count) for first, count, _ in stack.subtrees]


def first_row(leaf: int, leaves: int, rows: int) -> int:
    """Return the row with which a leaf begins in a batch of so many; the leaf after the last one begins at its end."""
    return int(leaf * rows // leaves)


def rows_of_shard(shard: int, shards: int, rows: int) -> slice:
    """Return the rows of a shard in a batch of so many.

    Raises
    ------
    InputError
        If `shard` is none of them, or one is no whole number.
    """
    if not (type(shard) is type(shards) is type(rows) is int and 0 <= shard < shards and rows >= 0):
        _refuse({"shard": shard, "shards": shards, "rows": rows})
    return slice(first_row(shard, shards, rows), first_row(shard + 1, shards, rows))


def _refuse(numbers: dict[str, Any]) -> None:
    """Raise the error for the first that is no whole number, or for a place that is not below the number of these."""
    for name, value in numbers.items():
        if not whole(0).has(value):
            raise InputError(f"{name} must be {whole(0).wanted}, got {shown(value)}")
    (one, place), (all_, count), _ = numbers.items()
    if not place < count:
        raise InputError(f"{one} must be below {all_}, got {place:,} of {count:,}")


def merges_after(leaf: int) -> int:
    """Return how often the last two sums become one when a leaf is there: as often as ones end its number."""
    count = 0
    while leaf & 1 == 1:
        count += 1
        leaf = leaf >> 1
    return count


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


class _NotedLeaf:
    """A leaf that notes whom it is merged with."""

    def __init__(self, number: int, merges: list[tuple[int, int]]) -> None:
        self._number, self._merges = number, merges

    def __add__(self, other: _NotedLeaf) -> _NotedLeaf:
        self._merges.append((self._number, other._number))
        return self


def pairs_of(subtrees: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return by their numbers which subtrees are merged, one pair after the other; the left one becomes their sum.

    Parameters
    ----------
    subtrees
        The first leaf of each, and how many it has, from the left.
    """
    stack, merges = SumStack(), list[tuple[int, int]]()
    for number, (first, count) in enumerate(subtrees):
        stack.push(first, count, _NotedLeaf(number, merges))
    stack.root()
    return merges
