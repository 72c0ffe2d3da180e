"""Dates that look like numbers, such as 20240131 or 20240131093000: told by all of a column, as a few may be chance."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gdkernels.tables.cells.dates import BARE
from gdkernels.tables.column.column_data import Floats

__all__ = ["bare_pattern"]

_DAYS = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])


def bare_pattern(values: Floats) -> str | None:
    """Return the pattern of dates of the years 1900 to 2099 that all the numbers there are spell; None if one is none.

    Parameters
    ----------
    values
        Numbers, NaN where there is none.
    """
    if not len(values):
        return None
    low, high = (float(end.reduce(values)) for end in (np.fmin, np.fmax))
    for figures, pattern in BARE.items():
        more = 10 ** (figures - 8)
        if low >= 19000101 * more and high < 20991232 * more:
            present = values[~np.isnan(values)]
            whole = present.astype(np.int64)
            return pattern if (whole == present).all() and _are_moments(whole, more) else None
    return None


def _are_moments(numbers: npt.NDArray[np.int64], more: int) -> bool:
    """Return whether all are days, each with a time behind it in the figures that `more` has zeros."""
    days, clock = np.divmod(numbers, more)
    years, rest = np.divmod(days, 10_000)
    months, day = np.divmod(rest, 100)
    leap = (months == 2) & (years % 4 == 0) & ((years % 100 != 0) | (years % 400 == 0))
    sound = (months >= 1) & (months <= 12) & (day >= 1)
    sound &= day <= _DAYS[np.minimum(months, 12)] + leap
    for units in (24, 60, 60):
        if more == 1:
            break
        more //= 100
        part, clock = np.divmod(clock, more)
        sound &= part < units
    return bool(sound.all())
