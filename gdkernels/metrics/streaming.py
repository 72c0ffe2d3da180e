"""The figures of `gdkernels.metrics` from sums, part by part, without keeping predictions and targets.

To rounding, they equal those that `gdkernels.metrics` computes from everything at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.errors import InputError
from gdkernels.metrics import METRICS
from gdkernels.metrics.figures import LOWEST, log_likelihoods, right_records, shares_out

__all__ = ["ClassSums", "Sums", "check_sums"]

Array = npt.NDArray[Any]

_MEANS = ("mae", "accuracy", "log_loss")  # over the records: those of parts add up


class Sums:
    """Sums that grow by `add`, from which any of the figures can be computed."""

    def __init__(self) -> None:
        self.records = 0
        self._weight = 0.0
        self._means = dict.fromkeys(_MEANS, 0.0)
        self._first: Array | None = None
        # By output: the weighted sums of squared errors, and of squares around the mean, which is counted from the
        # first target, so that those that never vary have none.
        self._residual: Any = 0.0
        self._spread: Any = 0.0
        self._mean: Any = 0.0

    def add(self, target: Array, prediction: Array, sample_weight: Array | None = None) -> None:
        """Add records: targets and predictions [records, outputs], and their weights [records]."""
        target, prediction = (np.asarray(a, np.float64).reshape(len(a), -1) for a in (target, prediction))
        weights = np.ones(len(target)) if sample_weight is None else np.asarray(sample_weight, np.float64)
        weight = float(weights.sum())
        self.records += len(target)
        if not weight:
            return
        if self._first is None:
            self._first = target[0]
        with np.errstate(over="ignore", invalid="ignore"):  # figures too large for a float become infinite
            for name in _MEANS:
                self._means[name] += weight * METRICS[name](target, prediction, weights)
            self._residual = self._residual + weights @ (target - prediction) ** 2
            offsets = target - self._first
            mean = weights @ offsets / weight
            away = mean - self._mean
            whole = self._weight + weight
            self._spread = self._spread + weights @ (offsets - mean) ** 2 + away**2 * (self._weight * weight / whole)
            self._mean = self._mean + away * (weight / whole)
        self._weight = whole

    @property
    def spread(self) -> float:
        """The mean squared deviation of the targets from their mean, over all records and outputs."""
        return float(np.mean(self._spread)) / self._weight if self._weight else math.nan

    def figure(self, name: str) -> float:
        """Return a figure by its name in `gdkernels.metrics.METRICS`."""
        if not self._weight:
            return math.nan
        if name in self._means:
            return self._means[name] / self._weight
        if name == "rmse":
            return math.sqrt(float(np.mean(self._residual)) / self._weight)
        spread = np.where(self._spread > 0, self._spread, 1.0)
        return float(np.mean(np.where(self._spread > 0, 1 - self._residual / spread, self._residual == 0)))


class ClassSums:
    """Accuracy and log loss of classes given by their indices: what `Sums` tells of them as one-hot rows, to the bit.

    One-hot rows of many classes would take far more memory than the records.
    """

    def __init__(self) -> None:
        self.records = 0
        self._means = {"accuracy": 0.0, "log_loss": 0.0}

    def add(self, pieces: Iterable[tuple[Array, Array]]) -> None:
        """Add a part of the records, in pieces: class indices [records] and probabilities [records, classes]."""
        found = [_right_and_likelihoods(*piece) for piece in pieces]
        if not found:
            return
        right, likelihoods = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
        self.records += len(right)
        weights = np.ones(len(right))
        self._means["accuracy"] += len(right) * float(np.average(right, weights=weights))
        self._means["log_loss"] += len(right) * float(-np.average(likelihoods, weights=weights))

    def figure(self, name: str) -> float:
        """Return the accuracy or the log loss, by its name in `gdkernels.metrics.METRICS`."""
        return self._means[name] / self.records if self.records else math.nan


def _right_and_likelihoods(truth: Array, probabilities: Array) -> tuple[Array, Array]:
    """Return for each record whether its class is right, and the log of the probability of what is true."""
    p = np.asarray(probabilities, np.float64)
    if p.shape[1] > 1 and shares_out(p):
        true = p[np.arange(len(p)), truth]
        return np.argmax(p, axis=1) == truth, np.log(np.clip(true, LOWEST, 1.0))
    target = np.eye(p.shape[1])[truth]
    return right_records(target, p), log_likelihoods(target, p)


def check_sums(names: Iterable[str]) -> None:
    """Raise `InputError` that names the first figure that cannot be told from sums."""
    for name in names:
        if name not in METRICS:
            raise InputError(
                f"the metric {name!r} needs all predictions at once, and the records are read in windows because they "
                f"need more than their memory: allow more, or choose among {', '.join(sorted(METRICS))}"
            )
