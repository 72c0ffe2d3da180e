"""Columns as a reading says: labels, numbers, dates and their parts, or an error that names a cell that is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from gdkernels.errors import InputError
from gdkernels.tables.cells.cells import Cells
from gdkernels.tables.cells.dates import moment_of
from gdkernels.tables.column.column_data import (
    Column,
    Floats,
    NumberColumn,
    Text,
    finding_of,
    number_or_nan,
    number_text,
)
from gdkernels.tables.column.meaning import labels_of, read_as
from gdkernels.tables.column.reading import NUMBER, Finding, Reading
from gdkernels.tables.table.table import Table

__all__ = [
    "CLOCK_PARTS",
    "DAY_PARTS",
    "PARTS",
    "as_labels",
    "dates_of",
    "days_of",
    "is_whole",
    "label_of",
    "numbers_of",
    "split",
]

_MEND = "correct or remove it"
_AGAIN = f"{_MEND}, or train again on cells like it"
DAY_PARTS = ("day number", "month", "day", "weekday", "hour")
# Of a time alone: midnight is close to the hour before, and a half day to the other where people work in daylight.
CLOCK_PARTS = ("time of day", "day sine", "day cosine", "half-day sine", "half-day cosine")
PARTS = (*DAY_PARTS, *CLOCK_PARTS)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def label_of(level: str) -> str:
    """Return a value's label: its text, but for numbers such as 3.0, which a table with gaps makes of 3."""
    whole = level.removesuffix(".0")
    return whole if whole != level and is_whole(whole) else level


def is_whole(label: str) -> bool:
    return label.lstrip("-").isdigit() and number_text(number_or_nan(label)) == label


def as_labels(column: Column) -> Text:
    """Return a column as text, truth values as "true" and "false"; its reading is one of text."""
    text = labels_of(column)
    reading = text.finding.reading
    return (
        text if reading.kind in ("text", "boolean") else replace(text, finding=Finding(replace(reading, kind="text")))
    )


def split(column: Text, pattern: str) -> Floats:
    """Return the parts of each date [records, parts], NaN where there is none or it does not follow `pattern`."""
    days = days_of(column.levels, pattern)
    return np.vstack([days, np.full(len(PARTS), np.nan)])[column.codes]  # the code −1 is the last row


def days_of(levels: Sequence[str], pattern: str) -> Floats:
    """Return the parts of dates [dates, parts], NaN where one does not follow `pattern`."""
    parts = np.full((len(levels), len(PARTS)), np.nan)
    for k, level in enumerate(levels):
        if (moment := moment_of(level, pattern)) is not None:
            days = (moment - _EPOCH).total_seconds() / 86_400
            time = days % 1
            waves = (wave(turns * 2 * np.pi * time) for turns in (1, 2) for wave in (np.sin, np.cos))
            parts[k] = (days, moment.month, moment.day, moment.weekday(), moment.hour, time, *waves)
    return parts


def numbers_of(table: Table, name: str, reading: Reading | None = None) -> Floats:
    """Return a column as finite numbers, NaN for gaps.

    Parameters
    ----------
    reading
        The meaning of its cells to a model; None takes the one that was found, while a model is trained.

    Raises
    ------
    InputError
        For text or infinity; the message names the first such cell.
    """
    column, training = table.columns[name], reading is None
    if reading is not None:
        column = read_as(column, reading)
    elif isinstance(column, Text):
        column = read_as(column, finding_of(column).number or NUMBER)
    values = column.values if isinstance(column, NumberColumn) else np.asarray(column)
    wrong = np.isinf(values)
    if isinstance(column, NumberColumn) and column.wrong is not None:
        wrong |= column.wrong
    if wrong.any():
        row = int(np.argmax(wrong))
        shown = f"{table.place(row, name)}: {_shown(column, row)}"
        if np.isinf(values[row]):
            raise InputError(f"{shown} is not a finite number; {_MEND}")
        told = finding_of(column).reading
        style = f" of the format {told}" if training else f" as those that were trained on are ({told})"
        style = "" if told.format == NUMBER.format else style
        raise InputError(f"{shown} is not a number{style}; {_MEND if training else _AGAIN}")
    return values


def dates_of(table: Table, name: str, reading: Reading) -> Text:
    """Return a column as dates, the text of each following the pattern.

    Raises
    ------
    InputError
        For other text; the message names the first such cell.
    """
    text = read_as(table.columns[name], reading)
    assert isinstance(text, Text)
    known = np.array([moment_of(level, reading.format) is not None for level in text.levels], bool)
    wrong = ~text.lookup(known, True)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InputError(
            f"{table.place(row, name)}: {text.levels[text.codes[row]]!r} is not a date like those trained on "
            f"({reading.format}); {_AGAIN}"
        )
    return text


def _shown(column: Column, row: int) -> str:
    source = column.source if isinstance(column, NumberColumn) else column
    cell = source.take(np.array([row])).tolist()[0] if isinstance(source, Cells) else float(np.asarray(column)[row])
    text = cell.strip() if isinstance(cell, str) else repr(cell)
    return repr(text if len(text) <= 40 else text[:40] + "…") if isinstance(cell, str) else repr(text)
