"""The order of an epoch's records: a permutation that follows from the seed, the epoch and their number.

Few records are permuted by NumPy's stream. Above `KEYED_ABOVE`, the record at a place is computed from a few keys, so
that a device finds it where it fetches the record, and nobody draws and copies the whole order before an epoch.

Place p of n is the pair (p div b, p mod b) of ℤ_a × ℤ_b, where a = ⌈√n⌉ and b = ⌈n/a⌉. In each round, one of the two
takes on a hash of the other, in turn: an unbalanced Feistel network, a bijection of ℤ_a × ℤ_b. What lies beyond the n
records goes through it again, until it is one of them; that is less than one place in √n (Black and Rogaway 2002,
doi:10.1007/3-540-45760-7_9). The hash is `mixed`, which dropout draws by.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any
from zlib import crc32

import numpy as np
import numpy.typing as npt

from gdkernels.randomness.counter_based import keys_of, mixed
from gdkernels.randomness.generators import generator
from gdkernels.randomness.seeded_orders import ORDER, SeededOrders

__all__ = ["KEYED_ABOVE", "ORDER_STREAM", "ROUNDS", "KeyedOrder", "epoch_order", "epoch_orders"]

# Checkpoints hold the number of the stream. 1 permutes any number of records by NumPy, 2 keys many of them.
ORDER_STREAM = 2

KEYED_ABOVE = 65_536

# With four, records that are neighbours come one after the other less often than in a uniform permutation: by 70% of 64
# records. With six it is 9% of 64, less than 1% of 1,000, and nothing that a test could see of more than `KEYED_ABOVE`.
ROUNDS = 6

_AT_A_TIME = 1 << 14  # places, so that what is in between stays in a cache

Indices = npt.NDArray[np.int64]


def epoch_order(seed: int, epoch: int, records: int, stream: int = ORDER_STREAM) -> Indices | KeyedOrder:
    """Return the order in which an epoch uses its records: an array of their numbers, or what computes them."""
    if stream >= 2 and records > KEYED_ABOVE:
        return KeyedOrder.of(seed, epoch, records)
    return generator(seed, ORDER, epoch).permutation(records)


def epoch_orders(seed: int, epochs: range, records: int, stream: int = ORDER_STREAM) -> SeededOrders | list[KeyedOrder]:
    """Return what `epoch_order` returns for each of some epochs, as what they follow from."""
    if stream >= 2 and records > KEYED_ABOVE:
        return [KeyedOrder.of(seed, epoch, records) for epoch in epochs]
    return SeededOrders(seed, epochs, records)


@dataclass(frozen=True)
class KeyedOrder:
    """An order of records whose numbers follow from keys; `numpy.asarray` computes them.

    A slice of it, whose step is 1, is the order of some of the places.

    Attributes
    ----------
    records
        The number of records that are permuted.
    keys
        A number of 32 bits for each round.
    first, stop
        The places that this is the order of.
    """

    records: int
    keys: tuple[int, ...]
    first: int
    stop: int

    @classmethod
    def of(cls, seed: int, epoch: int, records: int) -> KeyedOrder:
        """Return the order of all the records in an epoch."""
        rounds = (np.arange(ROUNDS, dtype=np.uint32) + np.uint32(crc32(b"order"))).view(np.int32)
        keys = keys_of(rounds, records, seed, epoch).view(np.uint32)
        return cls(records, tuple(keys.tolist()), 0, records)

    def __len__(self) -> int:
        return self.stop - self.first

    def __getitem__(self, part: slice) -> KeyedOrder:
        start, stop, step = part.indices(len(self))
        if step != 1:
            raise ValueError(f"a part of an order has the step 1, got {step}")
        return replace(self, first=self.first + start, stop=self.first + max(start, stop))

    @property
    def text(self) -> str:
        """The order in words: equal for equal orders."""
        return f"places {self.first} to {self.stop} of {self.records} by {', '.join(map(str, self.keys))}"

    @property
    def across(self) -> int:
        """The number b: place p is the pair (p div b, p mod b)."""
        return -(-self.records // self.down)

    @property
    def down(self) -> int:
        """The number a of which p div b is one."""
        return math.isqrt(self.records - 1) + 1 if self.records > 1 else 1

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        if copy is False:
            raise ValueError("the numbers of an order are computed: there is no array that could be shared")
        b, first = self.across, self._tables[0][0]
        rows = max(1, _AT_A_TIME // b)  # whole rows of places: their pairs need no division
        found = np.empty(len(self), np.int64)
        for row in range(self.first // b, -(-self.stop // b), rows):
            begin, end = max(self.first, row * b), min(self.stop, (row + rows) * b)
            high = np.arange(row, -(-end // b))[:, None] + first[:b]
            low = np.broadcast_to(np.arange(b), high.shape).copy()
            image = self._image(high.ravel(), low.ravel(), begun=1)
            found[begin - self.first : end - self.first] = image[begin - row * b : end - row * b]
        beyond = np.flatnonzero(found >= self.records)
        while len(beyond):
            again = self._image(*np.divmod(found[beyond], b))
            found[beyond] = again
            beyond = beyond[again >= self.records]
        return found if dtype is None else found.astype(dtype, copy=False)

    @property
    def _tables(self) -> tuple[list[Indices], Indices, Indices]:
        return _tables_of(self.down, self.across, self.keys)

    def _image(self, high: Indices, low: Indices, begun: int = 0) -> Indices:
        """Return the places to which pairs go in all rounds but those that have `begun`; the pairs are lost."""
        tables, low_of, high_of = self._tables
        added = np.empty_like(high)
        for k, table in enumerate(tables[begun:], begun):
            changed, other = (low, high) if k % 2 else (high, low)
            np.take(table, other, out=added, mode="clip")  # checking each number takes twice as long
            changed += added
        np.take(high_of, high, out=added, mode="clip")
        np.take(low_of, low, out=high, mode="clip")
        added += high
        return added


@lru_cache(maxsize=8)  # parts of one order have the same
def _tables_of(a: int, b: int, keys: tuple[int, ...]) -> tuple[list[Indices], Indices, Indices]:
    """Return what each round adds, by the number that it hashes, and what a pair's two numbers are worth in the end.

    Numbers grow from round to round, as they are reduced in the end alone: a table repeats itself.
    """
    tables = []
    for k, key in enumerate(keys):
        hashed, reduced = (a, b) if k % 2 else (b, a)
        numbers = mixed(np.arange(hashed, dtype=np.uint32).view(np.int32) ^ np.uint32(key).view(np.int32))
        scaled = (numbers.view(np.uint32).astype(np.uint64) * np.uint64(reduced)) >> np.uint64(32)
        tables.append(np.tile(scaled.astype(np.int64), 1 + (k + 1) // 2))
    sums = 1 + (len(keys) + 1) // 2
    return tables, np.tile(np.arange(b), sums), np.tile(np.arange(0, a * b, b), sums)
