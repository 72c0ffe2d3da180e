"""Times in clock cycles on whole cores: without the time that a shared machine added."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gdkernels.bench.results.model import BenchRow, ProcessSamples
from gdkernels.bench.sampling.statistics import lower_quartile

__all__ = ["has_clocks", "undisturbed"]

# Another process used part of a core if products took this many more cycles than in the best tenth of the samples.
_SHARED = 1.1
_BEST = 0.1


def has_clocks(*rows: BenchRow) -> bool:
    """Return whether a clock was timed beside every sample."""
    return all(r.clock_seconds and r.product_seconds for row in rows for r in row.repeats)


def undisturbed(*rows: BenchRow) -> list[list[float]]:
    """Return the lower quartile of each process of each row, in units of `ProbeReading.clock_seconds` if all have them.

    With clocks, samples are left out that were taken while another process used part of a core, and processes that have
    no others. Without clocks, the times are in seconds, of all samples.
    """
    repeats = [repeat for row in rows for repeat in row.repeats]
    if not has_clocks(*rows):
        return [[float(lower_quartile(r.seconds)) for r in row.repeats] for row in rows]
    limit = _SHARED * float(np.quantile([product for r in repeats for _, product in _samples(r)], _BEST))
    kept = [[[time for time, product in _samples(r) if product <= limit] for r in row.repeats] for row in rows]
    return [[float(lower_quartile(times)) for times in processes if times] for processes in kept]


def _samples(repeat: ProcessSamples) -> Iterator[tuple[float, float]]:
    """Return each sample, and the products beside it, in cycles."""
    for seconds, clock, product in zip(repeat.seconds, repeat.clock_seconds, repeat.product_seconds, strict=True):
        yield seconds / clock, product / clock
