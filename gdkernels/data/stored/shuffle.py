"""The order of an epoch whose records are in a file: random blocks, then a random order among those of a window.

The file is divided into blocks of consecutive records. Each epoch puts all blocks into a random order and reads k of
them at a time, a window. It puts the records of the window into a random order. Every record is thus equally likely at
every place of the epoch. Only the company of a record differs from a uniform shuffle. With blocks of r of the n records
and batches of B:

- two records of different blocks are in one batch as often as in a uniform shuffle, to a relative 1/k;
- two of the same block are in one batch n / kr times as often; nothing else is left of the order of the file;
- the standard deviation of a mean over a batch is therefore at most √(1 + (B − 1)/k) times that in a uniform shuffle,
  and so much only in a file in which all that varies does so from block to block, such as one sorted by class.

Blocks are so small that k is at least `TOGETHER`, as far as the window has so many records.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels import randomness
from gdkernels.system.hashing import sha256

__all__ = ["TOGETHER", "Layout", "Shuffle"]

TOGETHER = 256

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Layout:
    """The division of a file's records into blocks of `size` records; the last may be smaller.

    Attributes
    ----------
    records
        The number of records.
    together
        The number of blocks in memory at a time.
    share, held, seed
        The seed draws a `share` of each block to hold out. With `held`, the layout is of these records, and otherwise
        of the others; a share of 0 holds out none.
    """

    records: int
    size: int
    together: int
    share: float = 0.0
    held: bool = False
    seed: int = 0

    @property
    def blocks(self) -> int:
        return -(-self.records // self.size)

    def bounds(self, block: int) -> tuple[int, int]:
        """Return the numbers of the first record of a block and of the first behind it."""
        return block * self.size, min(self.records, (block + 1) * self.size)

    def rows_of(self, blocks: Sequence[int]) -> Indices | None:
        """Return which records of these blocks belong to the layout, by their places in them; None means all.

        Every record of the file has a number of one stream; those with a block's lowest are held out.
        """
        if not self.share:
            return None
        stream = randomness.generator(self.seed, "validation")
        source = stream.bit_generator
        assert isinstance(source, np.random.PCG64)  # which can pass over numbers
        numbers = np.ones((len(blocks), self.size))  # a number is less than 1: the smaller last block ends in those
        sizes, out = np.empty((2, len(blocks), 1), np.int64)
        at = 0
        for k, block in enumerate(blocks):
            first, stop = self.bounds(block)
            source.advance(first - at)
            numbers[k, : stop - first] = stream.random(stop - first)
            sizes[k], out[k], at = stop - first, self._held_before(stop) - self._held_before(first), stop
        ranks = np.argsort(np.argsort(numbers, axis=1), axis=1)
        meant = ranks < out if self.held else (ranks >= out) & (ranks < sizes)
        found: Indices = np.flatnonzero(meant[np.arange(self.size) < sizes])
        return found

    @property
    def counts(self) -> Indices:
        """The number of records in each block."""
        edges = np.minimum(np.arange(self.blocks + 1) * self.size, self.records)
        out = self._held_before(edges)
        found: Indices = np.diff(out if self.held else edges - out)
        return found

    def __len__(self) -> int:
        out = int(self._held_before(self.records))
        return out if self.held else self.records - out

    def _held_before(self, record: Any) -> Any:
        return np.floor(self.share * np.asarray(record)).astype(np.int64)


class Shuffle:
    """The order of one epoch.

    All its batches are full but the last: records beyond a window's last full batch join the next window.

    Attributes
    ----------
    windows, steps
        Their number.
    """

    def __init__(self, layout: Layout, batch: int, seed: int, epoch: int) -> None:
        self.layout, self.batch = layout, batch
        self._seed, self._epoch = seed, epoch
        self._order = randomness.generator(seed, "order", epoch).permutation(layout.blocks)
        self.windows = -(-layout.blocks // layout.together)
        counts = np.add.reduceat(layout.counts[self._order], np.arange(0, layout.blocks, layout.together))
        self._ends: list[int] = [0, *np.cumsum(counts).tolist()]
        self.steps = -(-self._ends[-1] // batch)

    def digest(self) -> str:
        """Return the SHA-256 of everything that determines the order."""
        told = repr((self.layout, self.batch, self._seed, self._epoch))
        return sha256(told.encode() + self._order.tobytes()).hexdigest()

    def blocks(self, window: int) -> list[int]:
        """Return the blocks of a window, in the file's order."""
        together = self.layout.together
        return sorted(self._order[window * together : (window + 1) * together].tolist())

    def permutation(self, window: int) -> Indices:
        """Return the order of a window's records, by their places when its blocks are in the file's order."""
        generator = randomness.generator(self._seed, f"window {window}", self._epoch)
        return generator.permutation(self._ends[window + 1] - self._ends[window])

    def left_over(self, window: int) -> int:
        """Return how many records of a window are used with the next one."""
        return 0 if window == self.windows - 1 else self._ends[window + 1] % self.batch

    def steps_of(self, window: int) -> tuple[int, int]:
        """Return the epoch's first step in a window, and the first behind it."""
        return self._ends[window] // self.batch, self._last_step(window)

    def window_of(self, step: int) -> int:
        """Return the window of a step."""
        return next(w for w in range(self.windows) if step < self._last_step(w))

    def _last_step(self, window: int) -> int:
        return self.steps if window == self.windows - 1 else self._ends[window + 1] // self.batch
