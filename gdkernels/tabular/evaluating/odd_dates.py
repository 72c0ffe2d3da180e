"""Remarks on dates that may mean something else: those of another calendar, far-off ones, durations, school years."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import UTC, datetime, timedelta

import numpy as np

from gdkernels.errors import keyword
from gdkernels.tables import Preparation, Table
from gdkernels.tables.cells.dates import ISO, is_clock
from gdkernels.tables.column.column_data import Floats, Text
from gdkernels.tables.column.sentinels import sentinels_of
from gdkernels.tables.features.columns import Date
from gdkernels.tables.table.checked import days_of

__all__ = ["odd_dates"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FAR, _NEAR = (datetime(year, 1, 1, tzinfo=UTC) for year in (2200, 2150))
_OWN_CALENDAR = (1600, 2200)  # most tables are of these years; Persian, Islamic and Buddhist ones are beyond
_ZONE = re.compile(r":[0-9.,]*(?:Z|[-+][0-9]{2}(?::?[0-9]{2}){0,2})$")
_DURATION = re.compile(r"duration|elapsed|runtime|lap|pace|split|dauer|dur(?:é|e)e|(?:^|[\s_.\-])length", re.IGNORECASE)
_MONTH = re.compile(r"[0-9]{2}([0-9]{2})[-/]([0-9]{2})")


def odd_dates(table: Table, preparation: Preparation, named: Collection[str]) -> list[str]:
    """Return what you should know of dates, but for columns of which the user said something."""
    said = []
    for kind in preparation.columns:
        column = table.columns[kind.name]
        if not isinstance(kind, Date) or not isinstance(column, Text) or kind.name in named:
            continue
        days = days_of(column.levels, kind.pattern)[:, 0]
        each = column.lookup(days, np.nan)
        present = each[~np.isnan(each)]
        if not len(present):
            continue
        told = _far(column, days, present), _calendar(kind, present), _zones(kind, column), _others(kind, column)
        said += [f"column {kind.name!r} {what}" for what in told if what]
    return said


def _far(column: Text, days: Floats, present: Floats) -> str:
    """Return which dates are far from all others, as 9999-12-31 is where it means that something has no end."""
    far = set(sentinels_of(present))
    if np.median(present) < (_NEAR - _EPOCH).days:
        far |= set(present[present >= (_FAR - _EPOCH).days])
    if not far or len(far) == len(np.unique(present)):
        return ""
    count, one = int(np.isin(present, list(far)).sum()), max(far, key=abs)
    cell = column.levels[int(np.flatnonzero(days == one)[0])][:40]
    low, high = _ends(present[~np.isin(present, list(far))])
    return (
        f"has {count:,} {'date' if count == 1 else 'dates'} far from all others "
        f"({low.date()} to {high.date()}), such as {cell!r}: if it means a gap, say {keyword('missing', [cell])}"
    )


def _calendar(kind: Date, present: Floats) -> str:
    """Return what to know of dates most of which are of years that few tables are of."""
    low, high = _ends(present)
    year = (_EPOCH + timedelta(days=float(np.median(present)))).year
    if is_clock(kind.pattern) or _OWN_CALENDAR[0] <= year < _OWN_CALENDAR[1]:
        return ""
    return (
        f"has dates of the years {low.year} to {high.year}, which are read by the Gregorian calendar: if they are of "
        "another, such as the Buddhist, the Islamic or the Persian one, write them as 2024-01-31"
    )


def _ends(days: Floats) -> tuple[datetime, datetime]:
    return _EPOCH + timedelta(days=float(days.min())), _EPOCH + timedelta(days=float(days.max()))


def _zones(kind: Date, column: Text) -> str:
    """Return what to know where some moments name a zone, and others do not, as only ISO 8601 allows."""
    if kind.pattern != ISO:
        return ""
    first = bool(_ZONE.search(column.levels[0]))
    if (other := next((level for level in column.levels if bool(_ZONE.search(level)) != first), None)) is None:
        return ""
    with_zone, without = (column.levels[0], other) if first else (other, column.levels[0])
    return (
        f"has times with a zone, such as {with_zone[:40]!r}, and others without, such as {without[:40]!r}, which are "
        "read as UTC: write the zone in all of them, or in none"
    )


def _others(kind: Date, column: Text) -> str:
    """Return what else cells may be: durations, or years that begin in one and end in the next."""
    if is_clock(kind.pattern) and _DURATION.search(kind.name):
        return "is read as times of day: if they are durations, write the minutes or hours as a plain number"
    months = [_MONTH.fullmatch(level) for level in column.levels] if kind.pattern in (ISO, "%Y-%m") else [None]
    if all(found is not None and int(found[2]) == int(found[1]) + 1 for found in months):
        return (
            f"is read as months: if cells such as {column.levels[0]!r} are years from one summer to the next, say "
            f"{keyword('categorical', [kind.name])}"
        )
    return ""
