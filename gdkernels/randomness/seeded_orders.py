"""The orders of some epochs as what they follow from, so that whoever uses them can draw them where it likes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar
from zlib import crc32

import numpy as np
import numpy.typing as npt

from gdkernels.randomness.generators import generators
from gdkernels.randomness.seeding import words_of

__all__ = ["ORDER", "SeededOrders"]

ORDER = "order"  # the purpose of the stream

_MOST_KEPT = 1 << 17  # numbers of the orders of some epochs that are kept for the next who asks: 1 MB

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SeededOrders:
    """The permutations of all records that NumPy's stream has for some epochs; `numpy.asarray` draws them.

    Attributes
    ----------
    seed
        That of the training.
    epochs
        Their numbers.
    records
        The number of records that each permutes.
    """

    seed: int
    epochs: range
    records: int

    ndim: ClassVar[int] = 2

    @property
    def shape(self) -> tuple[int, int]:
        """The numbers of epochs and of records."""
        return len(self.epochs), self.records

    @property
    def entropy(self) -> list[int]:
        """The numbers of 32 bits by which NumPy seeds the generator of an epoch, but for that of the epoch."""
        return [*words_of(self.seed), crc32(ORDER.encode())]

    def __len__(self) -> int:
        return len(self.epochs)

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        if copy is False:
            raise ValueError("the numbers of orders are drawn: there is no array that could be shared")
        kept = len(self.epochs) * self.records <= _MOST_KEPT
        found = (_kept_permutations if kept else _permutations)(self)
        return found if dtype is None else found.astype(dtype, copy=False)


def _permutations(orders: SeededOrders) -> Indices:
    found = np.empty(orders.shape, np.int64)
    for order, drawing in zip(found, generators(orders.seed, ORDER, orders.epochs), strict=True):
        order[:] = drawing.permutation(orders.records)
    found.flags.writeable = False
    return found


_kept_permutations = lru_cache(maxsize=8)(_permutations)  # the models of a search often have one seed
