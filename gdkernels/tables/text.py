"""Tables from text: a header, then a record a line, the cells divided by a comma, a semicolon, a tab or a bar.

The standard library's csv module reads, as it takes quotes as they are, tells each record's cells, and streams. Faster
readers were tried and fill up short records without a word.
"""

import csv
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from gdkernels.errors import InputError
from gdkernels.tables.streams import encoding_of, open_text
from gdkernels.tables.table import MISSING, Column, Table, number_or_nan, text_column

__all__ = ["read_text"]

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}

# Figures that begin with a zero are a code, not a quantity: the zero would be lost.
_CODE = re.compile(r"^\s*[-+]?0[0-9]", re.MULTILINE)


def read_text(path: Path, records: int) -> Iterator[Table]:
    """Yield the table of a text file in parts of so many records; the first part may be empty.

    Raises
    ------
    InputError
        For a header or a record that cannot be: the message names the line.
    """
    encoding = encoding_of(path)
    delimiter, names = _header(path, encoding)
    with open_text(path, encoding) as file:
        reader = csv.reader(file, delimiter=delimiter)
        try:
            next(reader)
            first = 0
            while (rows := list(islice(filter(None, reader), records))) or first == 0:
                if any(len(row) != len(names) for row in rows):
                    raise _ragged(path, encoding, delimiter, len(names))
                cells: Sequence[Sequence[str]] = list(zip(*rows, strict=True)) if rows else [[] for _ in names]
                columns = {n: _column(c, delimiter) for n, c in zip(names, cells, strict=True)}
                yield Table(columns, str(path), first=first)
                if len(rows) < records:
                    return
                first += len(rows)
        except csv.Error as error:
            raise InputError(f"line {reader.line_num:,} of {path}: {error}") from None


def _header(path: Path, encoding: str) -> tuple[str, list[str]]:
    """Return the delimiter, that which divides the first line into most names, and the names."""
    best: tuple[str, list[str]] = (",", [])
    problem = "it must hold the names of the columns"
    for delimiter in DELIMITERS:
        with open_text(path, encoding) as file:
            try:
                names = [name.strip() for name in next(csv.reader(file, delimiter=delimiter), [])]
            except csv.Error as error:  # a long line that this delimiter does not divide is longer than a cell may be
                problem = str(error)
                continue
        best = max(best, (delimiter, names), key=lambda found: len(found[1]))
    names = best[1]
    if not any(names):
        raise InputError(f"the first line of {path} is no header: {problem}")
    if all(np.isfinite(number_or_nan(name)) for name in names):
        raise InputError(
            f"the first line of {path} holds numbers where the names of the columns belong; put a header line before it"
        )
    if not names[0]:  # as spreadsheets and data frames write the numbers of their rows
        names[0] = "column 1"
    seen: dict[str, int] = {}
    for k, name in enumerate(names, 1):
        if not name:
            raise InputError(f"column {k} of {path} has no name; name every column in the first line")
        if name in seen:
            raise InputError(f"columns {seen[name]} and {k} of {path} are both named {name!r}; give each its own name")
        seen[name] = k
    return best


def _column(cells: Sequence[str], delimiter: str) -> Column:
    """Return a column of numbers where all that there is are numbers, or else of text."""
    joined = "\n".join(cells)
    if "_" not in joined and joined.isascii() and not _CODE.search(joined):
        # A semicolon is the delimiter where the comma is the decimal point.
        marks = (".", ",") if delimiter == ";" and "," in joined else (".",)
        for mark in marks:
            try:
                return np.array([np.nan if c.strip() in MISSING else c.replace(mark, ".") for c in cells], np.float64)
            except ValueError:
                pass
    return text_column(cells)


def _ragged(path: Path, encoding: str, delimiter: str, names: int) -> InputError:
    """Return the error for the first line with too many or too few cells."""
    with open_text(path, encoding) as file:
        reader = csv.reader(file, delimiter=delimiter)
        cells = next((len(row) for row in reader if row and len(row) != names), names)
        return InputError(
            f"line {reader.line_num:,} of {path} has {cells} {'cell' if cells == 1 else 'cells'}, the header {names} "
            f"names (delimiter: {DELIMITERS[delimiter]}); give it as many"
        )
