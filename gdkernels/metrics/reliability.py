"""The calibration of probabilities: whether what is said to be 80 % likely is so in 80 % of the cases."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["BINS", "Reliability"]

BINS = 10  # of equal width

Array = npt.NDArray[Any]


class Reliability:
    """Records in bins of the probability given to the class that was predicted; grows by `add`."""

    def __init__(self) -> None:
        self._records = np.zeros(BINS, np.int64)
        self._right = np.zeros(BINS, np.int64)
        self._confidence = np.zeros(BINS)
        self._variance = np.zeros(BINS)
        self._squares = 0.0

    def add(self, truth: Array, probabilities: Array) -> None:
        """Add records: class indices [records] and probabilities [records, classes]."""
        p = np.asarray(probabilities, np.float64)
        predicted = np.argmax(p, axis=1)
        rows = np.arange(len(p))
        confidence = np.clip(p[rows, predicted], 0.0, 1.0)
        bins = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
        self._records += np.bincount(bins, minlength=BINS)
        self._right += np.bincount(bins[predicted == truth], minlength=BINS)
        self._confidence += np.bincount(bins, confidence, BINS)
        self._variance += np.bincount(bins, confidence * (1 - confidence), BINS)
        true = p[rows, truth]
        if p.shape[1] == 2:
            self._squares += float(np.sum((1 - true) ** 2))
        else:
            self._squares += float(np.sum(np.sum(p**2, axis=1) - true**2 + (1 - true) ** 2))

    @property
    def brier(self) -> float:
        """The Brier score: the mean squared error of the probabilities, of two classes of one's, of more the sum."""
        records = int(self._records.sum())
        return self._squares / records if records else math.nan

    @property
    def error(self) -> float:
        """The expected calibration error: the mean over records of |share right − mean probability| of their bin."""
        records = int(self._records.sum())
        return float(np.sum(np.abs(self._right - self._confidence)) / records) if records else math.nan

    @property
    def by_chance(self) -> float:
        """The error to expect, in so many records, of probabilities that are all right."""
        records = int(self._records.sum())
        return float(np.sum(np.sqrt(2 / np.pi * self._variance)) / records) if records else math.nan

    def bins(self) -> list[dict[str, Any]]:
        """Return the bins that hold records: their edges, records, mean probability, and the share that was right."""
        return [
            {
                "from": k / BINS,
                "to": (k + 1) / BINS,
                "records": int(self._records[k]),
                "probability": float(self._confidence[k] / self._records[k]),
                "right": float(self._right[k] / self._records[k]),
            }
            for k in range(BINS)
            if self._records[k]
        ]
