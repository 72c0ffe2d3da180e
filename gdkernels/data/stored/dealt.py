"""The order of an epoch whose blocks are dealt to the shards of a batch: a rank reads those of its own shards only.

The blocks are put into a random order, as for one process, and their records are cut into a run for each shard, of as
many as the shard has in all batches. A window is so many steps. Each shard reads the records of its run that these
need, and puts them into a random order. The order thus depends on the number of shards, and not on the ranks.
"""

from __future__ import annotations

from itertools import accumulate

import numpy as np
import numpy.typing as npt

from gdkernels import randomness
from gdkernels.data.stored.shuffle import Layout
from gdkernels.groups.tree import rows_of_shard
from gdkernels.system.hashing import sha256

__all__ = ["DealtShuffle", "Part"]

Indices = npt.NDArray[np.int64]

Part = tuple[int, int, int]  # a block, and which of its records: from one to another that is not among them


class DealtShuffle:
    """The order of one epoch.

    Parameters
    ----------
    batch
        The records of a batch of all shards.

    Attributes
    ----------
    steps, windows
        Their number.
    steps_of_a_window
        The steps in each window but the last.
    """

    def __init__(self, layout: Layout, shards: int, batch: int, seed: int, epoch: int) -> None:
        self.layout, self.shards, self.batch = layout, shards, batch
        self._seed, self._epoch = seed, epoch
        self._order = randomness.generator(seed, "order", epoch).permutation(layout.blocks)
        self._ends = np.cumsum(layout.counts[self._order])
        self.records = int(self._ends[-1])
        self.steps = -(-self.records // batch)
        self.steps_of_a_window = max(1, layout.size * layout.together // batch)
        self.windows = -(-self.steps // self.steps_of_a_window)
        self._starts = [0, *accumulate(self._run(shard, self.steps) for shard in range(shards))]

    def digest(self) -> str:
        """Return the SHA-256 of everything that determines the order."""
        told = repr((self.layout, self.shards, self.batch, self._seed, self._epoch))
        return sha256(told.encode() + self._order.tobytes()).hexdigest()

    def steps_of(self, window: int) -> tuple[int, int]:
        """Return the epoch's first step in a window, and the first behind it."""
        first = window * self.steps_of_a_window
        return first, min(self.steps, first + self.steps_of_a_window)

    def rows_of(self, step: int) -> int:
        """Return the records of a step's batch."""
        return min(self.batch, self.records - step * self.batch)

    def parts(self, window: int, shard: int) -> list[Part]:
        """Return what a shard reads for a window, in the file's order."""
        first, last = self.steps_of(window)
        start = self._starts[shard] + self._run(shard, first)
        stop = self._starts[shard] + self._run(shard, last)
        found: list[Part] = []
        place = int(np.searchsorted(self._ends, start, side="right"))
        while start < stop:
            begin = int(self._ends[place - 1]) if place else 0
            end = min(stop, int(self._ends[place]))
            if end > start:
                found.append((int(self._order[place]), start - begin, end - begin))
            start, place = end, place + 1
        return sorted(found)

    def permutation(self, window: int, shard: int) -> Indices:
        """Return the order of the records of `parts`."""
        first, last = self.steps_of(window)
        count = self._run(shard, last) - self._run(shard, first)
        return randomness.generator(self._seed, f"window {window} shard {shard}", self._epoch).permutation(count)

    def _run(self, shard: int, steps: int) -> int:
        """Return how many records a shard has in the first steps."""

        def share(rows: int) -> int:
            part = rows_of_shard(shard, self.shards, rows)
            return int(part.stop - part.start)

        if steps < self.steps:
            return steps * share(self.batch)
        return (steps - 1) * share(self.batch) + share(self.rows_of(steps - 1))
