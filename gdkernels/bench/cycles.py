"""Times in clock cycles, where the cores were whole: what is left of a time without what a shared machine did."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

import numpy as np

from gdkernels.bench.results import Repeat, Row

__all__ = ["in_cycles"]

# Somebody else had a part of a core where products took so much more cycles than in the best tenth of the samples.
_SHARED = 1.1
_BEST = 0.1


def in_cycles(*rows: Row) -> list[list[float]] | None:
    """Return for each row the median of each process in units of `Reading.clock_seconds`; None where that is not known.

    Samples that were taken while somebody else had a part of a core are left out, and processes that have no others.
    """
    repeats = [repeat for row in rows for repeat in row.repeats]
    if not all(repeat.clock_seconds and repeat.product_seconds for repeat in repeats):
        return None
    limit = _SHARED * float(np.quantile([product for r in repeats for _, product in _samples(r)], _BEST))
    kept = [[[time for time, product in _samples(r) if product <= limit] for r in row.repeats] for row in rows]
    return [[statistics.median(times) for times in processes if times] for processes in kept]


def _samples(repeat: Repeat) -> Iterator[tuple[float, float]]:
    """Return each sample, and the products beside it, in cycles."""
    for seconds, clock, product in zip(repeat.seconds, repeat.clock_seconds, repeat.product_seconds, strict=True):
        yield seconds / clock, product / clock
