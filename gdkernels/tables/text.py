"""Tables from text: a header, then a record a line, the cells divided by a comma, a semicolon, a tab or a bar.

The standard library's csv module reads, as it takes quotes as they are, tells each record's cells, and streams. Faster
readers were tried and fill up short records without a word.
"""

import csv
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from gdkernels.errors import InputError
from gdkernels.tables.numbers import numbers_in
from gdkernels.tables.streams import encoding_of, open_text
from gdkernels.tables.table import Column, Table, number_or_nan, text_column

__all__ = ["read_text"]

_ROWS = (
    256  # turned into columns at a time: of more, Python's garbage collector would look through them again and again
)

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}


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
            while (cells := _cells(reader, records, len(names))) is not None:
                columns = {n: _column(c, delimiter) for n, c in zip(names, cells, strict=True)}
                if first == 0 or cells[0]:
                    yield Table(columns, str(path), first=first)
                if len(cells[0]) < records:
                    return
                first += len(cells[0])
            raise _ragged(path, encoding, delimiter, len(names))
        except csv.Error as error:
            raise InputError(f"line {reader.line_num:,} of {path}: {error}") from None


def _cells(reader: Iterator[list[str]], records: int, width: int) -> list[list[str]] | None:
    """Return the cells of so many records by column, or None where one has another number of cells."""
    columns: list[list[str]] = [[] for _ in range(width)]
    lines = filter(None, reader)
    while (left := records - len(columns[0])) and (rows := list(islice(lines, min(left, _ROWS)))):
        if set(map(len, rows)) != {width}:
            return None
        for column, cells in zip(columns, zip(*rows, strict=True), strict=True):
            column.extend(cells)
    return columns


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
    values = numbers_in(cells, delimiter)
    return text_column(cells) if values is None else values


def _ragged(path: Path, encoding: str, delimiter: str, names: int) -> InputError:
    """Return the error for the first line with too many or too few cells."""
    with open_text(path, encoding) as file:
        reader = csv.reader(file, delimiter=delimiter)
        cells = next((len(row) for row in reader if row and len(row) != names), names)
        return InputError(
            f"line {reader.line_num:,} of {path} has {cells} {'cell' if cells == 1 else 'cells'}, the header {names} "
            f"names (delimiter: {DELIMITERS[delimiter]}); give it as many"
        )
