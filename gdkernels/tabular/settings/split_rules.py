"""The rule that sets rows aside: at random, the last ones in time, or whole groups."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt

from gdkernels.errors import InputError, keyword, unknown_name
from gdkernels.system.given import is_one_of
from gdkernels.tables.cells.dates import is_clock
from gdkernels.tables.column.bare_dates import bare_pattern
from gdkernels.tables.column.column_data import Column, Floats, Text, finding_of, number_text, numbers_in
from gdkernels.tables.table.checked import as_labels, days_of, label_of, numbers_of
from gdkernels.tables.table.table import Table, listed, no_column
from gdkernels.tables.table.unread import refuse_unread

__all__ = ["SplitRule", "date_columns", "latest_from", "moment_text", "moments_of"]

_KINDS = ("random", "time", "group")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ANOTHER = "set rows aside by another column, or make numbers or text of it"


@dataclass(frozen=True)
class SplitRule:
    """How rows are set aside for validation and for the test.

    Attributes
    ----------
    kind
        "random"; "time": the last ones; "group": all rows of some groups.
    column
        The column of the time or of the groups; None where none is needed, or the only column of dates is meant.
    """

    kind: str = "random"
    column: str | None = None

    @classmethod
    def of(cls, words: str) -> SplitRule:
        """Return the rule that ``random``, ``time``, ``time:COLUMN`` or ``group:COLUMN`` means.

        Raises
        ------
        InputError
            For other words.
        """
        kind, colon, column = words.partition(":") if isinstance(words, str) else (words, "", "")
        if not is_one_of(kind, _KINDS):
            raise unknown_name("split", kind, ("random", "time", "time:COLUMN", "group:COLUMN"))
        if (kind == "random" and colon) or (colon and not column):
            raise InputError(f"{keyword('split', words)}: say random, time, time:COLUMN or group:COLUMN")
        if kind == "group" and not column:
            raise InputError(f"{keyword('split', 'group')} needs the column of the groups: group:COLUMN")
        return cls(kind, column or None)

    def __str__(self) -> str:
        return self.kind if self.column is None else f"{self.kind}:{self.column}"

    @property
    def aside(self) -> dict[str, str]:
        """The column that is no input, and why: the model is for groups that it has not seen."""
        return {self.column: "names the groups of the split"} if self.kind == "group" and self.column else {}

    def resolved(self, table: Table) -> SplitRule:
        """Return the rule with the name of its column, which the table has.

        Raises
        ------
        InputError
            If it has not, or there is not exactly one column of dates to go by.
        """
        if self.column is not None:
            if self.column not in table.columns:
                raise no_column(self.column, table.names, table.source)
            return self
        if self.kind != "time":
            return self
        found = date_columns(table)
        if len(found) != 1:
            what = f"has several columns of dates ({listed(found)})" if found else "has no column of dates"
            raise InputError(f"{table.source} {what}; say which orders it: {keyword('split', 'time:COLUMN')}")
        return replace(self, column=found[0])

    def check_targets(self, targets: Collection[str]) -> None:
        """Refuse a column that is to be predicted: rows set aside by it would have other targets than those to learn.

        Raises
        ------
        InputError
            Then; it names the column.
        """
        if self.column in targets:
            raise InputError(
                f"{keyword('split', str(self))}: {self.column!r} is the target, which nobody knows when the model is "
                "used; set rows aside by another column, or at random"
            )

    def moments(self, table: Table) -> Floats:
        """Return the time of each record, in days since 1970 or as the number that it is.

        Raises
        ------
        InputError
            For a record that has none.
        """
        assert self.column is not None
        return moments_of(table, self.column)

    def groups(self, table: Table) -> tuple[npt.NDArray[np.int64], list[str]]:
        """Return the group of each record as its place in a list of labels; a record without one is in a group of "".

        Labels are those that occur, in ascending order.
        """
        assert self.column is not None
        refuse_unread(table, (self.column,), _ANOTHER)
        text = as_labels(table.columns[self.column])
        labels = np.array([label_of(level) for level in text.levels], dtype=object)
        names, codes = np.unique(text.lookup(labels, "").astype(str), return_inverse=True)
        return codes.reshape(-1), names.tolist()


def date_columns(table: Table) -> list[str]:
    """Return the columns that hold dates; those of times of day alone are none."""
    return [name for name, column in table.columns.items() if _are_dates(column)]


def moments_of(table: Table, name: str) -> Floats:
    """Return the time of each record by its column of dates, or of numbers.

    Raises
    ------
    InputError
        For a record without one, and for text that is no date.
    """
    column = table.columns[name]
    refuse_unread(table, (name,), _ANOTHER)
    if not isinstance(column, Text):
        found = numbers_of(table, name)  # days such as 20240131 are in order as they are
    elif _are_dates(column):
        used, places = np.unique(column.codes, return_inverse=True)  # part of a table keeps the text of all of it
        days = days_of([column.levels[code] for code in used.tolist() if code >= 0], column.finding.reading.format)
        found = np.append([np.nan] * int((used < 0).any()), days[:, 0])[places.reshape(-1)]
    else:
        raise InputError(
            f"column {name!r} of {table.source} holds neither dates nor numbers, so it cannot order rows in time; "
            f"name another, or say what its dates look like by {keyword('read')}"
        )
    if np.isnan(found).any():
        row = int(np.argmax(np.isnan(found)))
        raise InputError(
            f"{table.place(row, name)}: no time, so it cannot be placed before or after the others; fill it in "
            "or leave the record out"
        )
    return np.asarray(found)


def latest_from(moments: Floats, share: float, what: str) -> float:
    """Return the moment from which on records are set aside: about that share of them, and at least one is left.

    Records of the same moment stay together.

    Raises
    ------
    InputError
        If they all have the same.
    """
    edges, counts = np.unique(moments, return_counts=True)
    if len(edges) < 2:
        raise InputError(
            f"all records have the same time, so none can be set aside for {what}: name another column by "
            f"{keyword('split', 'time:COLUMN')}, or say {keyword('split', 'random')}"
        )
    held = len(moments) - np.cumsum(counts)[:-1]  # by the edge after each
    return float(edges[1:][np.argmin(np.abs(held - max(1, round(share * len(moments)))))])


def moment_text(table: Table, name: str, moment: float) -> str:
    """Return a moment of `moments_of` for people."""
    if not isinstance(table.columns[name], Text):
        return number_text(moment)
    told = (_EPOCH + timedelta(days=moment)).replace(tzinfo=None)
    return told.isoformat(" ", "minutes") if moment % 1 else told.date().isoformat()


def _are_dates(column: Column) -> bool:
    if not isinstance(column, Text):
        return bare_pattern(numbers_in(column)) is not None
    reading = finding_of(column).reading
    return reading.kind == "date" and not is_clock(reading.format)
