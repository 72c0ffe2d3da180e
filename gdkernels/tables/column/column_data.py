"""The data of a column: numbers or text, which may have gaps, with what they were read from.

What becomes of a column in training is in `gdkernels.tables.features.columns`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.mixins import NDArrayOperatorsMixin

from gdkernels.tables.cells.cells import Cells
from gdkernels.tables.cells.numbers import plain_number
from gdkernels.tables.column.reading import NUMBER, TEXT, Finding

__all__ = [
    "Column",
    "Floats",
    "NumberColumn",
    "Rows",
    "Text",
    "factorized",
    "finding_of",
    "number_labels",
    "number_or_nan",
    "number_text",
    "numbers_in",
    "taken",
]

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[Any] | slice

_SHOWN = 4  # levels of text in its repr


@dataclass(frozen=True)
class Text:
    """A column of text: each record's place in `levels`, −1 where there is nothing.

    Attributes
    ----------
    codes, levels
        The text of a record is ``levels[code]``.
    cells
        The cells that it was read from; None if it was never spelled otherwise.
    finding
        What its cells mean.
    wrong
        A mask of the records whose cells do not fit the reading; None for none.
    """

    codes: npt.NDArray[np.int32]
    levels: tuple[str, ...]
    cells: Cells | None = field(default=None, repr=False, compare=False)
    finding: Finding = field(default=Finding(TEXT), repr=False, compare=False)
    wrong: npt.NDArray[np.bool_] | None = field(default=None, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.codes)

    def __repr__(self) -> str:
        more = f", … ({len(self.levels):,} in all)" if len(self.levels) > _SHOWN else ""
        return f"Text({len(self):,} records of {', '.join(map(repr, self.levels[:_SHOWN]))}{more})"

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
        A mask of the records whose cells are no such number; None for none.
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
    """Return the finding about a column's cells; numbers that were never text are plain."""
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


def number_text(value: float) -> str:
    """Return a number as a label: 3, not 3.0."""
    return str(int(value)) if abs(value) < 2**53 and value == round(value) else repr(float(value))
