"""Dates in text: found by trying how people write them, and split into parts."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import numpy as np

from gdkernels.tables.table import Floats, Text

__all__ = ["BARE", "PARTS", "are_bare", "check_pattern", "pattern_of", "split"]

PARTS = ("day number", "month", "day", "weekday", "hour")
ISO = "ISO 8601"
BARE = "%Y%m%d"  # without separators: as likely a number or a code, so that all of a column has to look like it
_PATTERNS = (ISO, "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%Y/%m/%d", "%d.%m.%Y %H:%M", "%m/%d/%Y %H:%M", "%d/%m/%Y %H:%M")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def pattern_of(column: Text) -> str | None:
    """Return the first pattern that all of the text follows, or None; of 1/2/2020, the month comes first."""
    if not column.levels:
        return None
    return next((p for p in _PATTERNS if all(_parsed(level, p) is not None for level in column.levels)), None)


def check_pattern(pattern: str) -> None:
    """Raise ValueError where a pattern that a file told cannot be followed."""
    try:
        datetime.strptime("", pattern)
    except re.error as error:  # a directive that is there twice
        raise ValueError(f"no pattern of dates: {error}") from None
    except ValueError:  # as it should be: no date follows from nothing
        return


def are_bare(values: Floats) -> bool:
    """Return whether all the numbers that there are spell days of the years 1900 to 2099, as 20240131 does."""
    present = values[~np.isnan(values)]
    if not len(present) or present.min() < 19000101 or present.max() > 20991231 or (present != np.round(present)).any():
        return False
    return all(_parsed(str(int(v)), BARE) is not None for v in np.unique(present))


def split(column: Text, pattern: str) -> Floats:
    """Return the parts of each date [records, parts], NaN where there is none or it does not follow `pattern`."""
    parts = np.full((len(column.levels) + 1, len(PARTS)), np.nan)
    for k, level in enumerate(column.levels):
        if (moment := _parsed(level, pattern)) is not None:
            days = (moment - _EPOCH).total_seconds() / 86_400
            parts[k] = (days, moment.month, moment.day, moment.weekday(), moment.hour)
    return np.asarray(parts[column.codes])  # the code −1 is the last row


def _parsed(text: str, pattern: str) -> datetime | None:
    try:
        if pattern == BARE and len(text) != 8:  # strptime takes 2024131 too
            return None
        if pattern != ISO:
            moment = datetime.strptime(text, pattern)
        elif len(text) < 8 or not text[:4].isdigit() or text.isdigit():  # bare figures are numbers or codes
            return None
        else:
            moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
