"""The loss of an epoch as scikit-learn reports it, where that is not the trainer's."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.estimators.inputs import Given, Passes, host_weights

__all__ = ["ReportedLoss"]


class ReportedLoss:
    """The mean over the batches of their weighted means, each batch counting by its records and not by their weights.

    A trainer divides the whole E by all the weights. The two are the same where records have no weights, or where an
    epoch is one batch; then `differs` is False, and steps need not be watched.

    Parameters
    ----------
    train
        What an epoch goes through.
    batch
        The records of a step.
    """

    def __init__(self, train: Given | Passes, batch: int) -> None:
        self._train, self._batch = train, batch
        self.differs = train.weighted and (isinstance(train, Passes) or train.records > batch)
        self._weights = host_weights(train.sample_weight) if self.differs and isinstance(train, Given) else None
        self._rows: npt.NDArray[Any] = np.arange(0)
        self._sizes: list[tuple[int, float]] = []
        self._total = 0.0

    def begin(self, rows: npt.NDArray[Any]) -> None:
        """Begin an epoch that uses the records in this order; one that was broken off counts for nothing."""
        self._rows, self._sizes, self._total = rows, [], 0.0

    def step(self, error: float) -> None:
        """Take note of E of the next step."""
        k = len(self._sizes)
        if isinstance(self._train, Passes):
            records, weight = self._train.sizes[k]
        else:
            rows = self._rows[k * self._batch : (k + 1) * self._batch]
            assert self._weights is not None
            records, weight = len(rows), float(self._weights[rows].sum())
        self._sizes.append((records, weight))
        self._total += records * error / (weight or 1.0)

    def end(self, loss: float) -> float:
        """End an epoch, and return its loss where the trainer's is this one."""
        if not self.differs:
            return loss
        reported = self._total / sum(records for records, _ in self._sizes)
        self._sizes, self._total = [], 0.0
        return reported
