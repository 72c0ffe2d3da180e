"""A table that was read: named columns of numbers or text, which may have gaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

import numpy as np

from gdkernels.errors import InputError, keyword, shown
from gdkernels.tables.cells.cells import Cells
from gdkernels.tables.column.column_data import Column, Rows, taken
from gdkernels.tables.column.values import plain_column

__all__ = ["Table", "UnreadTable", "listed", "no_column"]


@dataclass(frozen=True)
class Table:
    """Records in columns.

    Attributes
    ----------
    columns
        By name, in the source's order: float64 with NaN for gaps, or `Text`.
    source
        Its origin, for messages.
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

    def __repr__(self) -> str:
        return f"Table({len(self):,} records of {self.source}: {listed(self.names)})"

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
            For columns of different lengths, or none, and for values that are neither numbers nor text.
        """
        if not isinstance(columns, Mapping):
            raise InputError(f"columns must be a mapping from names to values, got {shown(columns)}")
        read: dict[str, Column] = {}
        for name, values in columns.items():
            try:
                read[str(name)] = plain_column(values)
            except InputError as error:
                raise InputError(f"column {str(name)!r} of {source} {error}") from None
        table = cls(read, source)
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


def no_column(name: str, names: Sequence[str], source: str, said_by: str | None = None) -> InputError:
    """Return the error for a column that is not there, closest names first; `said_by` is the keyword that named it."""
    source = source if said_by is None else f"{keyword(said_by)}: {source}"
    if len(name) > 80:  # a path, a table or the like
        return InputError(f"{source} has no column {shown(name)}. It has {listed(names)}")
    lower = {known.lower(): known for known in reversed(names)}
    close = [lower[found] for found in get_close_matches(name.lower(), lower, n=3)]
    guess = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
    single = len(names) == 1 and name in names[0]  # as where colons or spaces divide the cells
    divided = ""
    if single:
        divided = "; a comma, a semicolon, a tab or a bar divides the cells of a text file: put one of these there"
        divided += ", or pass the frame that pandas.read_csv makes of it, with sep=r'\\s+' for blanks"
    return InputError(f"{source} has no column {name!r}.{guess} It has {listed(names)}{divided}")


def listed(names: Sequence[str]) -> str:
    """Return the first names, and how many there are if those are not all."""
    return ", ".join(names[:12]) + (f", … ({len(names):,} in all)" if len(names) > 12 else "")
