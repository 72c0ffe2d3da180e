"""Statistics of samples: the interval of a median, the lower quartile, the bootstrap over processes."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from math import comb, inf

import numpy as np
import numpy.typing as npt

__all__ = ["LEAST_PROCESSES", "LEAST_SAMPLES", "interval", "lower_quartile", "redrawn", "spread"]

LEAST_SAMPLES = 6  # with fewer, not even the smallest and the largest enclose the median with 95 %
LEAST_PROCESSES = 5  # that the bootstrap draws from

_REDRAWN = 10_000


def interval(samples: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of the median, from order statistics alone: no distribution is assumed.

    The k-th smallest and the k-th largest of n samples miss the median with the probability 2·P(Bin(n, ½) < k).
    With fewer than `LEAST_SAMPLES` samples it is infinite.
    """
    n, k, tail = len(samples), 0, 1.0
    while 2 * tail <= 0.05 * 2**n:
        k += 1
        tail += comb(n, k)
    if k == 0:
        return -inf, inf
    ordered = sorted(samples)
    return ordered[k - 1], ordered[n - k]


def spread(samples: Sequence[float]) -> float:
    """Return half the 95 % interval of the median, as a share of the median."""
    low, high = interval(samples)
    return 0.5 * (high - low) / statistics.median(samples)


def lower_quartile(times: Sequence[float] | npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the lower quartile along the last axis: up to three quarters of the samples may be disturbed."""
    found: npt.NDArray[np.float64] = np.quantile(np.asarray(times), 0.25, axis=-1)
    return found


def redrawn(times: Sequence[float], random: np.random.Generator) -> npt.NDArray[np.float64]:
    """Return the lower quartiles of 10,000 bootstrap samples of the times of processes."""
    return lower_quartile(np.asarray(times)[random.integers(0, len(times), (_REDRAWN, len(times)))])
