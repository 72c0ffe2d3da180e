"""Times in clock cycles, where the cores were whole: what is left of a time without what a shared machine did."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gdkernels.bench.results.rows import Repeat, Row
from gdkernels.bench.sampling.interleaving import lower_quartile

__all__ = ["has_clocks", "undisturbed"]

# Somebody else had a part of a core where products took so much more cycles than in the best tenth of the samples.
_SHARED = 1.1
_BEST = 0.1


def has_clocks(*rows: Row) -> bool:
    """Return whether a clock was timed beside every sample."""
    return all(r.clock_seconds and r.product_seconds for row in rows for r in row.repeats)


def undisturbed(*rows: Row) -> list[list[float]]:
    """Return for each row the lower quartile of each process, in units of `Reading.clock_seconds` if all have them.

    Then samples that were taken while somebody else had a part of a core are left out, and processes that have no
    others; without clocks, it is in seconds, of all samples.
    """
    repeats = [repeat for row in rows for repeat in row.repeats]
    if not has_clocks(*rows):
        return [[float(lower_quartile(r.seconds)) for r in row.repeats] for row in rows]
    limit = _SHARED * float(np.quantile([product for r in repeats for _, product in _samples(r)], _BEST))
    kept = [[[time for time, product in _samples(r) if product <= limit] for r in row.repeats] for row in rows]
    return [[float(lower_quartile(times)) for times in processes if times] for processes in kept]


def _samples(repeat: Repeat) -> Iterator[tuple[float, float]]:
    """Return each sample, and the products beside it, in cycles."""
    for seconds, clock, product in zip(repeat.seconds, repeat.clock_seconds, repeat.product_seconds, strict=True):
        yield seconds / clock, product / clock
