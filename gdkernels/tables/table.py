"""What reading gives: named columns of numbers or text, with gaps where they have some."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from difflib import get_close_matches
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.errors import InputError

__all__ = [
    "MISSING",
    "Column",
    "Floats",
    "Table",
    "Text",
    "as_text",
    "listed",
    "no_column",
    "number_or_nan",
    "number_text",
    "plain_column",
    "spelled_numbers",
    "text_column",
]

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[Any] | slice

# What people write where there is nothing. "None" is not among them: in many tables it is a value, such as "no fence".
MISSING = frozenset(["", "NA", "N/A", "NaN", "nan", "NULL", "Null", "null", "?"])


@dataclass(frozen=True)
class Text:
    """A column of text: each record's place in `levels`, −1 where there is nothing."""

    codes: npt.NDArray[np.int32]
    levels: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.codes)

    def take(self, rows: Rows) -> Text:
        return Text(self.codes[rows], self.levels)

    def lookup(self, values: npt.NDArray[Any], missing: Any) -> npt.NDArray[Any]:
        """Return for each record the one of `values` [levels] that belongs to its text, or `missing`."""
        return np.append(values, missing)[self.codes]  # the code −1 is the last

    def numbers(self) -> Floats:
        """Return the numbers that the text spells, NaN where there is nothing or no number."""
        return self.lookup(np.array([number_or_nan(level) for level in self.levels], np.float64), np.nan)


Column = Floats | Text


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
        columns = {name: c.take(rows) if isinstance(c, Text) else c[rows] for name, c in self.columns.items()}
        return Table(columns, self.source, self.targets)

    def place(self, row: int, name: str) -> str:
        """Return how messages name a cell."""
        return f"record {self.first + row + 1:,} of {self.source}, column {name!r}"

    @classmethod
    def of(cls, columns: Mapping[str, Sequence[Any]], source: str = "the table") -> Table:
        """Return the table of Python's or NumPy's own values: numbers, text, dates and None, booleans being text.

        Raises
        ------
        InputError
            For columns of different lengths, or none.
        """
        table = cls({str(name): plain_column(values) for name, values in columns.items()}, source)
        lengths = {len(column) for column in table.columns.values()}
        if len(lengths) != 1:
            raise InputError(f"the columns of {source} must have one length, not {sorted(lengths) or 'none'}")
        return table


def text_column(values: Sequence[str | None]) -> Text:
    """Return a column of text as it is, without spaces around it; what stands for nothing is a gap."""
    stripped = {v: None if v is None or v.strip() in MISSING else v.strip() for v in dict.fromkeys(values)}
    levels = sorted({v for v in stripped.values() if v is not None})
    places: dict[str | None, int] = {None: -1} | {level: k for k, level in enumerate(levels)}
    codes = {v: places[level] for v, level in stripped.items()}
    return Text(np.fromiter(map(codes.__getitem__, values), np.int32, len(values)), tuple(levels))


def as_text(column: Column) -> Text:
    """Return numbers as their text."""
    if isinstance(column, Text):
        return column
    distinct, codes = np.unique(column, return_inverse=True)
    return text_column([None if math.isnan(v) else number_text(v) for v in distinct.tolist()]).take(codes)


def number_or_nan(text: str) -> float:
    """Return the number that `text` spells in ASCII, as every reader of ours takes it, or NaN."""
    if "_" in text or not text.isascii():  # float() takes 1_000 and digits of other scripts
        return math.nan
    try:
        return float(text)
    except ValueError:
        return math.nan


def no_column(name: str, names: Sequence[str], source: str) -> InputError:
    """Return the error for a column that is not there, closest names first."""
    lower = {known.lower(): known for known in reversed(names)}
    close = [lower[found] for found in get_close_matches(name.lower(), lower, n=3)]
    guess = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
    return InputError(f"{source} has no column {name!r}.{guess} It has {listed(names)}")


def listed(names: Sequence[str]) -> str:
    """Return the first names, and how many there are if those are not all."""
    return ", ".join(names[:12]) + (f", … ({len(names):,} in all)" if len(names) > 12 else "")


def spelled_numbers(column: Text) -> Column:
    """Return text as numbers where each cell spells one in its shortest form, as a text file would be read."""
    spelled = [(level, number_or_nan(level)) for level in column.levels]
    if spelled and all(np.isfinite(number) and number_text(number) == level for level, number in spelled):
        return column.numbers()
    return column


def plain_column(values: Sequence[Any]) -> Column:
    """Return a column of Python's or NumPy's own values.

    None and NaN are gaps, and so are NaT and NA; booleans are text, dates text in ISO 8601.

    Raises
    ------
    InputError
        For values that are no cells of a table.
    """
    try:
        array = np.asarray(values)
    except ValueError:  # lists of different lengths
        array = np.empty((0, 0))
    if array.ndim != 1:
        raise InputError(f"a column must be a list of values, not an array of shape {list(array.shape)}")
    if array.dtype.kind in "iuf":
        return np.asarray(array, np.float64)
    if array.dtype.kind == "b":
        return text_column(["true" if v else "false" for v in array])
    if array.dtype.kind == "M":
        return text_column([None if text == "NaT" else text for text in np.datetime_as_string(array).tolist()])
    plain = [_plain_value(v) for v in values]
    if all(v is None or (isinstance(v, (int, float)) and not isinstance(v, bool)) for v in plain):
        return np.array([np.nan if v is None else v for v in plain], np.float64)
    return text_column([None if v is None or (isinstance(v, float) and math.isnan(v)) else _as_text(v) for v in plain])


def _plain_value(value: Any) -> Any:
    if isinstance(value, (str, float, int)) or value is None:
        return value.item() if isinstance(value, np.generic) else value
    if type(value).__name__ in ("NAType", "NaTType"):  # of pandas, which needs not be there
        return None
    if isinstance(value, np.generic):
        return _plain_value(value.item()) if value.dtype.kind != "M" else str(value) if not np.isnat(value) else None
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, date):  # a datetime is one
        return value.isoformat()
    if isinstance(value, (bytes, Mapping, Sequence, set, frozenset, np.ndarray)):
        raise InputError(f"a cell of a table holds {type(value).__name__}, neither a number nor text")
    return value


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return number_text(value) if isinstance(value, (int, float)) else str(value)


def number_text(value: float) -> str:
    """Return a number as a label: 3, not 3.0."""
    return str(int(value)) if abs(value) < 2**53 and value == round(value) else repr(float(value))
