"""Numbers that may be dates or times: figures as in 202401, 231028 or 1745, and counts since a day. Or else others."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import numpy as np

from gdkernels.errors import keyword
from gdkernels.tables.column.column_data import Floats, number_text

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


_CLOCK = re.compile(r"time|hour|clock|zeit|uhr|stunde|hora|heure|(?:^|_)(?:dep|arr)(?:$|_)", re.IGNORECASE)
_SHORT = "year, month, day"
_LOOK = 1_000  # of more numbers, the first ones show nearly always that they are something else


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
    if figures := _figures_of_days(present, low, high):
        write = f"say {keyword('read', {name: '%y%m%d'})}" if figures == _SHORT else "write them as 2024-01-31"
        return f"may be dates, such as {number_text(high)} ({figures}), and is read as a number: {write} if they are"
    if high <= 2400 and _CLOCK.search(name) and _are_clocks(present):
        return (
            f"may be times of day, such as {number_text(high)}, and is read as a number, which jumps from 59 to 100 in "
            "each hour: write them as 17:45 if they are"
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


def _figures_of_days(values: Floats, low: float, high: float) -> str:
    """Return in which order numbers have the figures of a year, a month and a day; nothing where one is no such day."""
    if low >= 100101 and high <= 991231 and _are_days(values, year=10_000, month=100, day=1):
        return _SHORT
    for years in ((1300, 1500), (2400, 2600)):  # of Iran and Islam, and of Thailand
        if low >= years[0] * 10_000 and high < years[1] * 10_000 and _are_days(values, year=10_000, month=100, day=1):
            return "year, month, day of a calendar of its own"
    if low >= 1011900 and high <= 31122099:
        if _are_days(values, year=1, month=10_000, day=1_000_000):
            return "day, month, year"
        if _are_days(values, year=1, month=1_000_000, day=10_000):
            return "month, day, year"
    return ""


def _are_days(values: Floats, *, year: int, month: int, day: int) -> bool:
    """Return whether all are whole and hold a month and a day, where they are divided by these.

    A year at their end, which is divided by 1, is one of 1900 to 2099.
    """
    for numbers in (values[:_LOOK], values):
        whole = numbers.astype(np.int64)
        months, days = whole // month % 100, whole // day % 100
        sound = (whole == numbers) & (months >= 1) & (months <= 12) & (days >= 1) & (days <= 31)
        if year == 1:
            sound &= (whole % 10_000 >= 1900) & (whole % 10_000 < 2100)
        if not sound.all():
            return False
    return len(np.unique(values)) >= _FEWEST and len(np.unique(values // month)) > 1


def _are_clocks(values: Floats) -> bool:
    """Return whether all are whole, and end with the minutes of an hour, of which many are there."""
    times = np.unique(values)
    minutes = times % 100
    return bool((times == np.round(times)).all() and (minutes < 60).all() and len(np.unique(minutes)) > 2 * _FEWEST)


def _are_months(values: Floats) -> bool:
    """Return whether all are whole and end with 01 to 12, and there are several years of them."""
    months = np.unique(values)
    whole = bool((months == np.round(months)).all())
    part = months % 100
    return whole and len(months) >= _FEWEST and bool(((part >= 1) & (part <= 12)).all()) and months[-1] - months[0] > 88
