"""A table's rows for learning and for the test, as text and as the arrays that other libraries take."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.table_scores.sources import Lines, Source
from gdkernels.randomness import generator
from gdkernels.tables import Preparation, Table, Text, read, split
from gdkernels.tables.preparation.outcomes import Numbers, labels
from gdkernels.tables.preparation.target_columns import with_targets

__all__ = ["SplitTable", "WholeTable"]

Array = npt.NDArray[Any]
_SECONDS = 86_400


@dataclass(frozen=True)
class SplitTable:
    """One split of a table.

    Attributes
    ----------
    x
        Numbers and text as objects, with NaN for gaps; dates are numbers.
    text
        Of each column, whether it is text.
    y
        Numbers, or the labels of classes as text.
    classes
        The labels of all rows; None for numbers.
    log
        Whether our preparation learns the logarithm of the target from the training rows.
    """

    lines: Lines
    target: str
    x: Array
    text: tuple[bool, ...]
    y: Array
    classes: tuple[str, ...] | None
    train: Array
    test: Array
    log: bool


class WholeTable:
    """A source that was read, with the rows that have a target."""

    def __init__(self, source: Source) -> None:
        self._source = source
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "table.csv"
            lines = source.lines()
            lines.write(path, range(len(lines.records)))
            table = read(path)
        column = table.columns[source.target]
        gaps = column.codes < 0 if isinstance(column, Text) else np.isnan(np.asarray(column))
        there = np.flatnonzero(~gaps)
        self._lines = Lines(lines.header, tuple(lines.records[k] for k in there))
        self.table = with_targets(table, (source.target,))
        self.task = Preparation.fit(self.table, source.target).task
        names = [n for n in table.names if n != source.target and n not in source.left_out]
        parts = [p for n in names for p in _columns(self.table, n, source.dates.get(n))]
        self._x = np.column_stack([values for values, _ in parts])
        self._text = tuple(text for _, text in parts)

    def split(self, seed: int) -> SplitTable:
        """Return the split of a seed: four fifths of the rows for learning, of each class alike."""
        target = self._source.target
        classes = None
        if self.task == "classification":
            truth = np.asarray(labels(self.table, target)).astype(str)
            classes, groups = np.unique(truth, return_inverse=True)
        else:
            truth, groups = np.asarray(self.table.columns[target], float), None
        train, test = split(len(truth), 0.2, generator(seed, "table scores"), groups)
        outcome = Preparation.fit(self.table, target, rows=train).outcome
        log = isinstance(outcome, Numbers) and bool(outcome.logs[0])
        told = None if classes is None else tuple(classes.tolist())
        return SplitTable(self._lines, target, self._x, self._text, truth, told, train, test, log)


def _columns(table: Table, name: str, date: str | None) -> list[tuple[Array, bool]]:
    """Return a column, with whether it is text; or the numbers that a date means."""
    column = table.columns[name]
    if not isinstance(column, Text):
        return [(np.asarray(column, float).astype(object), False)]
    values = [column.levels[code] if code >= 0 else None for code in column.codes]
    if date is None:
        return [(np.array([np.nan if v is None else v for v in values], object), True)]
    moments = [None if v is None else _moment(v, date) for v in values]
    told = (
        [np.nan if m is None else m.timestamp() / _SECONDS for m in moments],
        [np.nan if m is None else m.hour if date.startswith("%H") else m.weekday() for m in moments],
        [np.nan if m is None else m.month for m in moments],
    )
    kept = [np.array(numbers, object) for numbers in told]
    return [(numbers, False) for numbers in (kept[1:2] if date.startswith("%H") else kept)]


def _moment(value: str, date: str) -> datetime:
    for form in (date, "%Y-%m-%d"):
        try:
            return datetime.strptime(value, form).replace(tzinfo=UTC)
        except ValueError:
            continue
    raise ValueError(f"{value!r} is no date like {date}")
