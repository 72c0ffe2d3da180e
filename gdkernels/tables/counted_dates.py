"""Numbers that may be dates: months as in 202401, and seconds or days of a count. They may as well be others."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import numpy as np

from gdkernels.errors import keyword
from gdkernels.tables.column_data import Floats, number_text

__all__ = ["like_dates"]

_FEWEST = 6  # of different numbers: of fewer, all may begin and end like a month by chance
_UNITS = {"seconds": 1.0, "milliseconds": 1e3, "microseconds": 1e6, "nanoseconds": 1e9}
_FIRST, _LAST = (datetime(year, 1, 1, tzinfo=UTC).timestamp() for year in (1990, 2100))
_DAY, _EXCEL = 86_400, -25_569  # the day 0 of spreadsheets, counted from 1970
_DAYS = re.compile(r"date|datum|fecha|day|tag$", re.IGNORECASE)
_TIMES = re.compile(
    r"time|date|stamp|epoch|unix|created|updated|modified|begin|start|end|seen|zeit|datum|fecha|(?:^|_)(?:at|on|ts)(?:$|_)",
    re.IGNORECASE,
)


def like_dates(name: str, values: Floats) -> str:
    """Return what you should know of numbers that may be dates; nothing of others.

    Parameters
    ----------
    values
        Those of the column `name`, NaN for gaps.
    """
    present = values[~np.isnan(values)]
    if not len(present):
        return ""
    low, high = float(present.min()), float(present.max())
    if low >= 190001 and high <= 209912 and _are_months(present):
        return (
            f"may be months, such as {number_text(high)}, and is read as a number, which jumps from 12 to 101 where a "
            f"year ends: say {keyword('read', {name: '%Y%m'})} if they are"
        )
    for unit, factor in _UNITS.items():
        if low >= _FIRST * factor and high < _LAST * factor and _TIMES.search(name):
            days = " to ".join(f"{datetime.fromtimestamp(end / factor, UTC):%Y-%m-%d}" for end in (low, high))
            return (
                f"may be {unit} since 1970 ({days}), and is read as a number: write them as dates if months, "
                "weekdays or hours matter"
            )
    if low >= _FIRST / _DAY - _EXCEL and high < _LAST / _DAY - _EXCEL and _DAYS.search(name):
        days = " to ".join(f"{datetime.fromtimestamp((end + _EXCEL) * _DAY, UTC):%Y-%m-%d}" for end in (low, high))
        return (
            f"may be days as spreadsheets count them ({days}), and is read as a number: write them as dates if months "
            "or weekdays matter"
        )
    return ""


def _are_months(values: Floats) -> bool:
    """Return whether all are whole and end with 01 to 12, and there are several years of them."""
    months = np.unique(values)
    whole = bool((months == np.round(months)).all())
    part = months % 100
    return whole and len(months) >= _FEWEST and bool(((part >= 1) & (part <= 12)).all()) and months[-1] - months[0] > 88
