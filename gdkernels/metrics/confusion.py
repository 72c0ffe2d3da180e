"""Confused classes: counts of the pairs that occurred, so that many classes take little memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Confusion"]

Array = npt.NDArray[Any]


class Confusion:
    """The number of records of each true class that were given each class; grows by `add`.

    Parameters
    ----------
    classes
        The number of records.
    """

    def __init__(self, classes: int) -> None:
        self.classes = classes
        # Pairs as true class × classes + predicted class, ascending, and how many records each has.
        self._pairs = np.empty(0, np.int64)
        self._records = np.empty(0, np.int64)

    def add(self, true: Array, predicted: Array) -> None:
        """Add records by the indices of their classes."""
        pairs, records = np.unique(self.classes * true.astype(np.int64) + predicted, return_counts=True)
        pairs, places = np.unique(np.concatenate([self._pairs, pairs]), return_inverse=True)
        whole = np.zeros(len(pairs), np.int64)
        np.add.at(whole, places, np.concatenate([self._records, records]))
        self._pairs, self._records = pairs, whole

    def by_true(self) -> Array:
        """Return how many records of each class there are."""
        return self._sums(self._pairs // self.classes, self._records)

    def by_predicted(self) -> Array:
        """Return how many records were given each class."""
        return self._sums(self._pairs % self.classes, self._records)

    def right(self) -> Array:
        """Return how many records of each class were given it."""
        true, predicted = np.divmod(self._pairs, self.classes)
        return self._sums(true, np.where(true == predicted, self._records, 0))

    def matrix(self) -> Array:
        """Return the numbers of records [true class, predicted class]."""
        whole = np.zeros(self.classes * self.classes, np.int64)
        whole[self._pairs] = self._records
        return whole.reshape(self.classes, self.classes)

    def most_confused(self, count: int) -> list[tuple[int, int, int]]:
        """Return the true class, the class given and the records of the pairs with most errors, the worst first."""
        true, predicted = np.divmod(self._pairs, self.classes)
        wrong = np.flatnonzero(true != predicted)
        worst = wrong[np.argsort(-self._records[wrong], kind="stable")[:count]]
        found = zip(true[worst].tolist(), predicted[worst].tolist(), self._records[worst].tolist(), strict=True)
        return list(found)

    def _sums(self, classes: Array, records: Array) -> Array:
        whole = np.zeros(self.classes, np.int64)
        np.add.at(whole, classes, records)
        return whole
