"""The figures of answering without looking: always the most frequent class, or always the mean."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["UNEVEN", "baseline_of_classes", "baseline_of_numbers"]

UNEVEN = 2.0  # the most frequent class has so many times the records of the rarest: accuracy says little of the latter

Array = npt.NDArray[Any]


def baseline_of_classes(records: Array) -> dict[str, float]:
    """Return the figures of the best constant answer: the majority, and as probabilities the shares.

    Parameters
    ----------
    records
        The number of evaluated records of each class.
    """
    shares = records / records.sum()
    present = shares[shares > 0]
    return {
        "accuracy": float(shares.max()),
        "log_loss": float(np.sum(present * np.log(1 / present))),
        "balanced_accuracy": 1 / len(present),
        "brier": float(1 - np.sum(shares**2)) / (2 if len(shares) == 2 else 1),
    }


def baseline_of_numbers(spread: float, truth: Array) -> dict[str, float]:
    """Return the figures of the mean as the answer to everything.

    Parameters
    ----------
    spread
        The mean squared deviation from it of all records.
    truth
        The numbers of records drawn from all.
    """
    away = np.abs(truth - truth.mean(axis=0))
    return {"r2": 0.0, "rmse": float(np.sqrt(spread)), "mae": float(away.mean())}
