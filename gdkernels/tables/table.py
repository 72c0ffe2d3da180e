"""A table that was read: named columns of numbers or text, which may have gaps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.mixins import NDArrayOperatorsMixin

from gdkernels.errors import InputError
from gdkernels.tables.cells import Cells
from gdkernels.tables.numbers import plain_number
from gdkernels.tables.reading import NUMBER, TEXT, Finding

__all__ = [
    "Column",
    "Floats",
    "NumberColumn",
    "Rows",
    "Table",
    "Text",
    "UnreadTable",
    "factorized",
    "finding_of",
    "listed",
    "no_column",
    "number_labels",
    "number_or_nan",
    "number_text",
    "numbers_in",
    "taken",
]

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[Any] | slice


@dataclass(frozen=True)
class Text:
    """A column of text: each record's place in `levels`, −1 where there is nothing.

    Attributes
    ----------
    codes, levels
        The text of a record is ``levels[code]``.
    cells
        What it was read from; None where it was never spelled otherwise.
    finding
        What its cells mean.
    wrong
        Which records hold what the reading cannot be; None for none.
    """

    codes: npt.NDArray[np.int32]
    levels: tuple[str, ...]
    cells: Cells | None = field(default=None, repr=False, compare=False)
    finding: Finding = field(default=Finding(TEXT), repr=False, compare=False)
    wrong: npt.NDArray[np.bool_] | None = field(default=None, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.codes)

    def copy(self) -> Text:
        """Return the same column without the records that it was taken from."""
        return self if self.cells is None else replace(self, cells=self.cells.copy())

    def take(self, rows: Rows) -> Text:
        cells = None if self.cells is None else self.cells.take(rows)
        return Text(
            self.codes[rows], self.levels, cells, self.finding, None if self.wrong is None else self.wrong[rows]
        )

    def lookup(self, values: npt.NDArray[Any], missing: Any) -> npt.NDArray[Any]:
        """Return for each record the one of `values` [levels] that belongs to its text, or `missing`."""
        return np.append(values, missing)[self.codes]  # the code −1 is the last

    def numbers(self) -> Floats:
        """Return the numbers that the text spells, NaN where there is nothing or no number."""
        return self.lookup(np.array([number_or_nan(level) for level in self.levels], np.float64), np.nan)


@dataclass(frozen=True, eq=False)
class NumberColumn(NDArrayOperatorsMixin):
    """A column of numbers that keeps what they were read from; it can be used like the array of its values.

    Attributes
    ----------
    values
        The numbers, NaN for gaps.
    source
        The cells; or whole numbers as the table holds them, which may be more than float64 can tell apart.
    finding
        What the cells mean.
    wrong
        Which records hold what is no such number; None for none.
    """

    values: Floats
    source: Cells | npt.NDArray[Any] = field(repr=False)
    finding: Finding = field(default=Finding(NUMBER), repr=False)
    wrong: npt.NDArray[np.bool_] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: Any) -> Any:
        return self.values[rows]

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        plain = (value.values if isinstance(value, NumberColumn) else value for value in inputs)
        return getattr(ufunc, method)(*plain, **options)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.array(self.values, dtype) if copy else np.asarray(self.values, dtype)

    def tolist(self) -> list[float]:
        return self.values.tolist()  # type: ignore[no-any-return]

    def copy(self) -> NumberColumn:
        """Return the same column without the records that it was taken from."""
        return replace(self, source=self.source.copy())

    def take(self, rows: Rows) -> NumberColumn:
        source = self.source.take(rows) if isinstance(self.source, Cells) else self.source[rows]
        wrong = None if self.wrong is None else self.wrong[rows]
        return NumberColumn(self.values[rows], source, self.finding, wrong)


Column = Floats | Text | NumberColumn


@dataclass(frozen=True)
class Table:
    """Records in columns.

    Attributes
    ----------
    columns
        By name, in the source's order: float64 with NaN for gaps, or `Text`.
    source
        Where it was read from, for messages.
    targets
        The columns to be predicted, where the source itself says so.
    first
        The number of its first record in the source, from 0, where it is a part of one.
    """

    columns: Mapping[str, Column]
    source: str = "the table"
    targets: tuple[str, ...] = ()
    first: int = 0

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.columns)

    def take(self, rows: Rows) -> Table:
        """Return the table of some of the records, by their numbers, a mask or a slice."""
        return Table({name: taken(c, rows) for name, c in self.columns.items()}, self.source, self.targets)

    def copy(self) -> Table:
        """Return the same table without the records that it was taken from, so that those need no memory."""
        columns = {name: c if isinstance(c, np.ndarray) else c.copy() for name, c in self.columns.items()}
        return replace(self, columns=columns)

    def place(self, row: int, name: str) -> str:
        """Return how messages name a cell."""
        return f"record {self.first + row + 1:,} of {self.source}, column {name!r}"

    @classmethod
    def of(cls, columns: Mapping[str, Sequence[Any]], source: str = "the table") -> Table:
        """Return the table of Python's or NumPy's own values: numbers, text, dates, booleans and None.

        Raises
        ------
        InputError
            For columns of different lengths, or none.
        """
        from gdkernels.tables.values import plain_column

        table = cls({str(name): plain_column(values) for name, values in columns.items()}, source)
        lengths = {len(column) for column in table.columns.values()}
        if len(lengths) != 1:
            raise InputError(f"the columns of {source} must have one length, not {sorted(lengths) or 'none'}")
        return table


@dataclass(frozen=True)
class UnreadTable:
    """Records as they stand in a file, before the meaning of their text is known: like `Table`, text being `Cells`."""

    columns: Mapping[str, Column | Cells]
    source: str = "the table"
    targets: tuple[str, ...] = ()
    first: int = 0

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))


def taken(column: Column, rows: Rows) -> Column:
    """Return some of a column's records, by their numbers, a mask or a slice."""
    return column[rows] if isinstance(column, np.ndarray) else column.take(rows)


def numbers_in(column: Column) -> Floats:
    """Return a column's numbers, NaN for gaps and for text that spells none."""
    return (
        column
        if isinstance(column, np.ndarray)
        else column.values
        if isinstance(column, NumberColumn)
        else (column.numbers())
    )


def finding_of(column: Column) -> Finding:
    """Return what was found about a column's cells; numbers that were never text are plain."""
    return Finding(NUMBER, number=NUMBER) if isinstance(column, np.ndarray) else column.finding


def factorized(texts: Sequence[str | None]) -> Text:
    """Return a column of text as it is; None is a gap."""
    levels = sorted({text for text in texts if text is not None})
    places: dict[str | None, int] = {None: -1} | {level: k for k, level in enumerate(levels)}
    return Text(np.fromiter(map(places.__getitem__, texts), np.int32, len(texts)), tuple(levels))


def number_labels(values: Floats) -> Text:
    """Return numbers as their text."""
    distinct, codes = np.unique(values, return_inverse=True)
    return factorized([None if math.isnan(v) else number_text(v) for v in distinct.tolist()]).take(codes)


def number_or_nan(text: str) -> float:
    """Return the number that `text` spells plainly, or NaN."""
    number = plain_number(text)
    return math.nan if number is None else number


def no_column(name: str, names: Sequence[str], source: str) -> InputError:
    """Return the error for a column that is not there, closest names first."""
    lower = {known.lower(): known for known in reversed(names)}
    close = [lower[found] for found in get_close_matches(name.lower(), lower, n=3)]
    guess = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
    return InputError(f"{source} has no column {name!r}.{guess} It has {listed(names)}")


def listed(names: Sequence[str]) -> str:
    """Return the first names, and how many there are if those are not all."""
    return ", ".join(names[:12]) + (f", … ({len(names):,} in all)" if len(names) > 12 else "")


def number_text(value: float) -> str:
    """Return a number as a label: 3, not 3.0."""
    return str(int(value)) if abs(value) < 2**53 and value == round(value) else repr(float(value))
