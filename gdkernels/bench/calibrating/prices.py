"""Fitting prices to times, and what several threads share.

A job on several threads takes as long as alone, but for the cost of each run, times a share; and more for waking the
other threads in each run and meeting them in each step. The prices on several threads are therefore those of one
thread, times that share, and more for runs, steps and operations: four numbers, fitted to both times of every job.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gdkernels.dispatch.workload import QUANTITIES

__all__ = ["FittedPrices", "JobTimes", "fit_prices", "fit_sharing"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class JobTimes:
    """The quantities of a job, and every sample of its time, in seconds."""

    quantities: Mapping[str, float]
    samples: Sequence[float]

    @property
    def seconds(self) -> float:
        """The upper quartile: work that is often disturbed costs more, such as threads that wait for each other."""
        return float(np.quantile(self.samples, 0.75))

    @property
    def noise(self) -> float:
        """The share by which the median is above the fastest."""
        return statistics.median(self.samples) / min(self.samples) - 1.0


@dataclass(frozen=True)
class FittedPrices:
    """Prices by quantity, and their misfit: the rms of ln(estimated / measured)."""

    prices: dict[str, float]
    misfit: float


def fit_prices(rows: Sequence[JobTimes]) -> FittedPrices:
    """Return the prices of quantities that fit measured times.

    Prices are at least 0, and minimise the sum of (p − t)² / (p t), p the estimate and t the time: too long and too
    short by the same factor count the same, and a microsecond of one job as much as a second of another. The estimate
    in the denominator is that of the round before.
    """
    names = [n for n in QUANTITIES if any(row.quantities[n] for row in rows)]
    found = _factors([[row.quantities[n] for n in names] for row in rows], [row.seconds for row in rows])
    prices = {n: float(p) for n, p in zip(names, found, strict=True) if p > 0}
    return FittedPrices(prices, _misfit(prices, rows))


def fit_sharing(rows: Sequence[JobTimes], alone: Sequence[JobTimes], prices: Mapping[str, float]) -> FittedPrices:
    """Return the prices on several threads that fit the times of the same jobs there and on the fewest.

    Parameters
    ----------
    alone, prices
        The times on the fewest threads, and the prices that were fitted to them.
    """
    run = prices.get("runs", 0.0)
    extra = ("runs", "steps", "operations")
    apart = [run * row.quantities["runs"] for row in alone]  # a run begins and ends on one thread
    shared = [max(0.0, one.seconds - a) for one, a in zip(alone, apart, strict=True)]
    columns = [[s, *(row.quantities[n] for n in extra)] for s, row in zip(shared, rows, strict=True)]
    share, *more = _factors(columns, [max(0.1 * r.seconds, r.seconds - a) for r, a in zip(rows, apart, strict=True)])
    found = {n: float(share) * p for n, p in prices.items()} | {"runs": run}
    for name, price in zip(extra, more, strict=True):
        found[name] = found.get(name, 0.0) + float(price)
    return FittedPrices(found, _misfit(found, rows))


def _factors(columns: Sequence[Sequence[float]], times: Sequence[float]) -> Array:
    """Return non-negative factors of the columns whose weighted sums come closest to the times."""
    matrix = np.array(columns) / np.array(times)[:, None]
    scale = np.linalg.norm(matrix, axis=0)
    scale[scale == 0.0] = 1.0
    matrix /= scale
    ratio, found = np.ones(len(times)), np.zeros(len(scale))
    for _ in range(10):
        weights = 1.0 / np.sqrt(np.clip(ratio, 0.05, 20.0))
        found = _non_negative(matrix * weights[:, None], weights)
        ratio = matrix @ found
    return np.asarray(found / scale)


def _misfit(prices: Mapping[str, float], rows: Sequence[JobTimes]) -> float:
    """Return the rms of ln(estimated / measured)."""
    estimated = np.array([sum(p * row.quantities[n] for n, p in prices.items()) for row in rows])
    ratio = estimated / np.array([row.seconds for row in rows])
    return float(np.sqrt(np.mean(np.log(np.maximum(ratio, 1e-9)) ** 2)))


def _non_negative(matrix: Array, target: Array) -> Array:
    """Return the x ≥ 0 with the least ‖matrix x − target‖, one coordinate at a time.

    The sequential coordinate-wise algorithm of Franc, Hlaváč and Navara (2005).
    """
    gram, x = matrix.T @ matrix, np.zeros(matrix.shape[1])
    slope = -(matrix.T @ target)
    for _ in range(10_000):
        largest = 0.0
        for k in range(len(x)):
            moved = max(0.0, x[k] - slope[k] / gram[k, k]) if gram[k, k] else 0.0
            change = moved - x[k]
            if change:
                slope += change * gram[:, k]
                x[k] = moved
                largest = max(largest, abs(change))
        if largest <= 1e-9 * float(x.max(initial=0.0)):
            break
    return x
