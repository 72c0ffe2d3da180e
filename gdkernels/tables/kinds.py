"""Choosing what becomes of each column, by what is in it, or by what the user said."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gdkernels.errors import InputError, keyword
from gdkernels.tables import dates
from gdkernels.tables.columns import Category, Date, Dropped, Kind, Number, numbers_of
from gdkernels.tables.table import Column, Floats, Table, Text, as_text, no_column, number_or_nan

__all__ = ["Choices", "choose", "refuse_mistakes"]

FEW = 20  # of fewer records, all may differ by chance
MOSTLY = 0.9  # where this share of the cells are numbers, the others are mistakes

_ID = re.compile(r"(^|[\s_.\-#])(p?id|uuid|guid|key|index|idx|nr|no|number|code)\.?$", re.IGNORECASE)
_POINTS = re.compile(r"[-+]?[1-9][0-9]{0,2}(\.[0-9]{3}){2,}")
_CAMEL_ID = re.compile(r"[a-z](Id|ID|Key|Index)$")


@dataclass(frozen=True)
class Choices:
    """What the user said of columns: leave out, use although it looks like an identifier, as text, as numbers.

    Raises
    ------
    InputError
        Where one column is said to be two things.
    """

    ignore: Collection[str] = ()
    keep: Collection[str] = ()
    categorical: Collection[str] = ()
    numeric: Collection[str] = ()

    def __post_init__(self) -> None:
        told = {
            "ignore": self.ignore,
            "keep_columns": self.keep,
            "categorical": self.categorical,
            "numeric": self.numeric,
        }
        for one, other in (*(("ignore", name) for name in list(told)[1:]), ("categorical", "numeric")):
            if both := sorted({*told[one]} & {*told[other]}):
                raise InputError(f"column {both[0]!r} cannot be both {keyword(one)} and {keyword(other)}; say one")

    @property
    def named(self) -> set[str]:
        return {*self.ignore, *self.keep, *self.categorical, *self.numeric}


def choose(table: Table, names: Collection[str], rows: npt.NDArray[np.int64], choices: Choices) -> list[Kind]:
    """Return what becomes of the columns `names`: their kind by the whole table, the rest by the training `rows`.

    Raises
    ------
    InputError
        For a choice of a column that is not there, and for text where nearly all else are numbers.
    """
    for name in sorted(choices.named):
        if name not in table.columns:
            raise no_column(name, table.names, table.source)
    return [_choose(table, name, rows, choices) for name in names]


def _choose(table: Table, name: str, rows: npt.NDArray[np.int64], choices: Choices) -> Kind:
    column = table.columns[name]
    if name in choices.ignore:
        return Dropped(name, "ignored, as asked for")
    if name in choices.numeric:
        return Number.fit(name, numbers_of(table, name)[rows])
    if name in choices.categorical:
        return Category.fit(name, _take(column, rows))
    kept = name in choices.keep
    if isinstance(column, Text):
        return _text(table, name, column, rows, kept)
    values = numbers_of(table, name)
    if dates.are_bare(values):
        return Date.fit(name, as_text(column).take(rows), dates.BARE)
    why = None if kept else _identifier(name, values)
    return Dropped(name, why) if why else Number.fit(name, values[rows])


def _text(table: Table, name: str, column: Text, rows: npt.NDArray[np.int64], kept: bool) -> Kind:
    pattern = dates.pattern_of(column)
    if pattern is not None:
        return Date.fit(name, column.take(rows), pattern)
    if not kept:
        refuse_mistakes(table, name, f"say {keyword('categorical', [name])} or {keyword('ignore', [name])}")
        _refuse_points(table, name, column)
    present = column.codes[column.codes >= 0]
    if not kept and len(present) >= FEW and len(np.unique(present)) == len(present):
        return Dropped(name, "an identifier: all its text differs")
    return Category.fit(name, column.take(rows))


def refuse_mistakes(table: Table, name: str, otherwise: str) -> None:
    """Refuse text in a column where nearly all else are numbers, naming the first, and what can be done `otherwise`.

    Raises
    ------
    InputError
        Then.
    """
    column = table.columns[name]
    if not isinstance(column, Text):
        return
    present, spelled = column.codes >= 0, ~np.isnan(column.numbers())
    # All of them: figures that begin with a zero are spelled like numbers, but mean codes.
    if MOSTLY * present.sum() <= spelled.sum() < present.sum():
        row = int(np.argmax(present & ~spelled))
        raise InputError(
            f"{table.place(row, name)}: {column.levels[column.codes[row]][:40]!r} is not a number, but nearly all "
            f"others are; correct it, or {otherwise}"
        )


def _refuse_points(table: Table, name: str, column: Text) -> None:
    """Refuse numbers with points between their thousands: of those below a million, nobody can tell what they are."""
    levels = zip(column.levels, map(number_or_nan, column.levels), strict=True)
    odd = {level for level, number in levels if np.isnan(number)}
    if odd and all(map(_POINTS.fullmatch, odd)):
        row = int(np.argmax([code >= 0 and column.levels[code] in odd for code in column.codes]))
        raise InputError(
            f"{table.place(row, name)}: {column.levels[column.codes[row]]!r} has points between its thousands, which "
            f"elsewhere are decimal points; write the column without them, or say "
            f"{keyword('categorical', [name])}"
        )


def _identifier(name: str, values: Floats) -> str | None:
    if len(values) < FEW or not np.isfinite(values).all():
        return None
    if not np.all(values == np.round(values)) or len(np.unique(values)) < len(values):
        return None
    if np.ptp(values) == len(values) - 1:
        return "an identifier: consecutive integers"
    if _ID.search(name) or _CAMEL_ID.search(name):
        return "an identifier: integers that all differ, under such a name"
    return None


def _take(column: Column, rows: npt.NDArray[np.int64]) -> Column:
    return column.take(rows) if isinstance(column, Text) else column[rows]
