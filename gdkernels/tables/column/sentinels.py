"""Numbers that stand for a gap: often there, and further from all others than these are from each other."""

from __future__ import annotations

import re

import numpy as np

from gdkernels.tables.column.column_data import Floats

__all__ = ["is_nines", "sentinels_of"]

_SHARE, _RECORDS, _MOST = 0.01, 5, 3
_DISTINCT = 10  # of fewer other values, as in an answer from 1 to 7, only nines such as 99 are seen as a gap
_NINES = re.compile(r"-?9[9.]*9")


def sentinels_of(values: Floats) -> tuple[float, ...]:
    """Return the values that are often there and far from all others, as those for "nothing" are, the lowest first."""
    finite = np.isfinite(values)
    left = values if finite.all() else values[finite]
    found: list[float] = []
    while len(found) < _MOST and (one := _farthest(left, max(_RECORDS, _SHARE * len(values)))) is not None:
        found.append(one)
        left = left[left != one]
    return tuple(sorted(found))


def is_nines(spelled: str) -> bool:
    """Return whether a number is spelled as people spell what is not there: -999, 99.9."""
    return _NINES.fullmatch(spelled) is not None


def _farthest(present: Floats, fewest: float) -> float | None:
    if not len(present):
        return None
    for extreme in (float(present.min()), float(present.max())):
        nines = is_nines(f"{extreme:.12g}")
        if extreme == 0 or not (nines or extreme == np.round(extreme)):
            continue
        same = present == extreme
        if np.count_nonzero(same) < fewest:
            continue
        others = present[~same]
        distinct = len(np.unique(others[:10_000]))
        if distinct < 2 or (distinct < _DISTINCT and not nines):
            continue
        low, high = np.percentile(others, [5, 95])
        if np.abs(others - extreme).min() > high - low:
            return extreme
    return None
