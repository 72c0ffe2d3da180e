"""The link between ranks, measured: how long a message takes, and so an exchange of sums."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from gdkernels.groups.contract import Group
from gdkernels.groups.sums import SHORT
from gdkernels.groups.tree import subtrees_of

__all__ = ["Link", "measured"]

_TIMES = 5  # each of two messages is sent; the quickest counts
_LARGE = 1 << 18  # bytes


@dataclass(frozen=True)
class Link:
    """The seconds that a message of all ranks takes: `alpha`, and one more for every `beta` bytes that a rank sends."""

    alpha: float
    beta: float

    def exchange(self, size: int, shards: int, ranks: int) -> float:
        """Return the seconds in which so many bytes of sums are exchanged."""
        if ranks == 1:
            return 0.0
        subtrees = max(len(subtrees_of(rank, ranks, shards)) for rank in range(ranks))
        if size <= SHORT:
            return self.alpha + subtrees * size * (ranks - 1) / self.beta
        return 2 * self.alpha + (subtrees + 1) * size * (ranks - 1) / ranks / self.beta


def measured(group: Group) -> Link:
    """Measure the link; all ranks get the same numbers."""
    small, large = (_quickest(group, size) for size in (8, _LARGE))
    alpha, each = group.gather_numbers([small, max(large - small, 1e-9)]).max(axis=0).tolist()
    return Link(alpha, _LARGE * (group.size - 1) / each)


def _quickest(group: Group, size: int) -> float:
    others, send, got = group.others, np.zeros(size, np.uint8), np.empty((group.size, size), np.uint8)
    found = []
    exchange = group.repeated([(rank, send) for rank in others], [(rank, got[rank]) for rank in others])
    for _ in range(_TIMES):
        group.barrier()
        began = time.perf_counter()
        exchange()
        found.append(time.perf_counter() - began)
    return min(found)
