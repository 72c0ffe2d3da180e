"""Tables from text: a header, then a record a line, the cells divided by a comma, a semicolon, a tab or a bar.

The standard library's csv module reads, as it takes quotes as they are, tells each record's cells, and streams. Faster
readers were tried and fill up short records without a word. What cells mean is decided elsewhere, over all of them.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TextIO

from gdkernels.errors import InputError, keyword
from gdkernels.tables.cells import Cells
from gdkernels.tables.header import checked_names, numbered_names
from gdkernels.tables.streams import encoding_of, open_text
from gdkernels.tables.table import UnreadTable

__all__ = ["DELIMITERS", "TextOptions", "read_text"]

# Rows turned into columns at a time: of more, Python's garbage collector would look through them again and again.
_ROWS = 256
_BLOCK = 64  # times so many make a block of cells
_PART = 1 << 25  # characters: with these, a part is large enough, however few its records are
_LOOK = 20  # records that are looked at to tell a header from a record

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}


@dataclass(frozen=True)
class TextOptions:
    """The user's options for text files.

    Attributes
    ----------
    header
        Whether the first line names the columns; None refuses one that looks like a record.
    skip_rows
        The number of lines before it.
    """

    header: bool | None = None
    skip_rows: int = 0


@dataclass(frozen=True)
class _Form:
    """The form of a text file: what divides its cells, the columns' names, and where its first record is."""

    delimiter: str
    names: list[str]
    skipped: int
    has_header: bool


def read_text(path: Path, records: int, options: TextOptions | None = None) -> Iterator[UnreadTable]:
    """Yield the table of a text file in parts of at most so many records; the first part may be empty.

    Raises
    ------
    InputError
        For a header or a record that cannot be: the message names the line.
    """
    encoding = encoding_of(path)
    form = _form(path, encoding, options or TextOptions())
    first = 0
    with open_text(path, encoding) as file:
        reader = _reader(file, form.delimiter, form.skipped)
        try:
            if form.has_header:
                next(reader)
            while (cells := _part(reader, records, form)) is not None:
                if first == 0 or len(cells[0]):
                    yield UnreadTable(dict(zip(form.names, cells, strict=True)), str(path), first=first)
                if not len(cells[0]):
                    return
                first += len(cells[0])
        except csv.Error as error:
            raise _wrong(path, encoding, form, str(error)) from None
    raise _wrong(path, encoding, form)


def _reader(file: TextIO, delimiter: str, skipped: int) -> Iterator[list[str]]:
    for _ in range(skipped):
        file.readline()
    return csv.reader(file, delimiter=delimiter, strict=True)


def _part(reader: Iterator[list[str]], records: int, form: _Form) -> list[Cells] | None:
    """Return the cells of at most so many records by column, or None where a record has another number of cells."""
    width = len(form.names)
    blocks: list[list[Cells]] = [[] for _ in range(width)]
    done = characters = 0
    lines = reader if width == 1 else filter(None, reader)  # in a single column, an empty line is an empty cell
    while done < records and characters < _PART:
        columns: list[list[str]] = [[] for _ in range(width)]
        begun = done
        for _ in range(_BLOCK):
            rows = list(islice(lines, min(records - done, _ROWS)))
            if not rows:
                break
            if set(map(len, rows)) != {width} and not _mend(rows, width):
                return None
            for column, cells in zip(columns, zip(*rows, strict=True), strict=True):
                column.append("\0".join(cells))
            done += len(rows)
        if not columns[0]:
            break
        for block, column in zip(blocks, columns, strict=True):
            joined = Cells.of_block(column, done - begun, form.delimiter)
            if joined.holds_line_ends() and any(_swallows(cell, form) for cell in joined.tolist()):
                return None
            characters += joined.characters
            block.append(joined)
    return [Cells.joined(block, form.delimiter) for block in blocks]


def _mend(rows: list[list[str]], width: int) -> bool:
    """Drop empty cells behind the last column, and return whether all rows have as many as there are columns then."""
    for k, row in enumerate(rows):
        if len(row) > width and not any(map(str.strip, row[width:])):
            rows[k] = row[:width]
        elif width == 1 and not row:
            rows[k] = [""]
    return set(map(len, rows)) == {width}


def _swallows(cell: str, form: _Form) -> bool:
    """Return whether a quoted cell holds a whole record, as one does whose quote was never closed."""
    width = len(form.names)
    if width == 1 or ("\n" not in cell and "\r" not in cell):
        return False
    *inner, last = cell.splitlines()[1:] or [""]
    whole = [*inner, *([last] if last.endswith(form.delimiter) else [])]
    return any(len(row) == width for row in csv.reader(whole, delimiter=form.delimiter))


def _form(path: Path, encoding: str, options: TextOptions) -> _Form:
    """Find out how a file is written, by the first line after those that are to be skipped.

    Raises
    ------
    InputError
        If it is no header, and nobody said that it is a record.
    """
    skipped, said = options.skip_rows, None
    with open_text(path, encoding) as file:
        for _ in range(skipped):
            file.readline()
        start = file.readline(8).strip()
    if start.lower().startswith("sep=") and start[4:] in DELIMITERS | {
        "": ""
    }:  # Excel's way to say it; of a tab, stripped
        said, skipped = start[4:] or "\t", skipped + 1
    delimiter, first, problem = _first_line(path, encoding, skipped, said)
    line = f"line {skipped + 1:,}" if skipped else "the first line"
    if not any(first):
        raise InputError(f"{line} of {path} is no header: {problem}")
    with open_text(path, encoding) as file:
        try:
            records = list(filter(None, islice(_reader(file, delimiter, skipped), 1, _LOOK)))
        except csv.Error:
            records = []
    if len(first) == 1 and (title := _divided(path, encoding, skipped + 1)) is not None:
        raise InputError(
            f"{line} of {path} is a single name, but the next lines have {title[1]} cells each (delimiter: "
            f"{DELIMITERS[title[0]]}); if it is a title, say {keyword('skip_rows', skipped + 1)}"
        )
    if options.header is False:
        return _Form(delimiter, numbered_names(first), skipped, has_header=False)
    names = checked_names(first, records, f"{line} of {path}", str(path), sure=options.header is True)
    return _Form(delimiter, names, skipped, has_header=True)


def _first_line(path: Path, encoding: str, skipped: int, said: str | None) -> tuple[str, list[str], str]:
    """Return the delimiter, which divides the first line into most cells, these cells, and the problem."""
    best: tuple[str, list[str]] = (said or ",", [])
    problem = "it must hold the names of the columns"
    for delimiter in DELIMITERS if said is None else (said,):
        with open_text(path, encoding) as file:
            try:
                cells = [cell.strip() for cell in next(_reader(file, delimiter, skipped), [])]
            except csv.Error as error:  # a long line that this delimiter does not divide is longer than a cell may be
                problem = str(error)
                continue
        best = max(best, (delimiter, cells), key=lambda found: len(found[1]))
    return *best, problem


def _divided(path: Path, encoding: str, skipped: int) -> tuple[str, int] | None:
    """Return the delimiter that divides the next lines into several cells each, always as many; None for none."""
    with open_text(path, encoding) as file:
        for _ in range(skipped):
            file.readline()
        lines = [line for line in (file.readline(1 << 16) for _ in range(5)) if line.strip()]
    for delimiter in DELIMITERS:
        counts = {len(row) for row in csv.reader(lines, delimiter=delimiter)}
        if len(lines) > 1 and len(counts) == 1 and (count := counts.pop()) > 1:
            return delimiter, count
    return None


def _wrong(path: Path, encoding: str, form: _Form, problem: str = "") -> InputError:
    """Return the error for the first record that cannot be, by reading them one by one."""
    width = len(form.names)
    with open_text(path, encoding) as file:
        reader = csv.reader(file, delimiter=form.delimiter, strict=True)
        for _ in range(form.skipped):
            file.readline()
        begins, before = form.skipped + 1, form.skipped
        try:
            for row in reader:
                begins, ends = before + 1, form.skipped + reader.line_num
                before = ends
                rows = [row]
                if (row or width == 1) and len(row) != width and not _mend(rows, width):
                    return _ragged(path, form, row, ends)
                if any(_swallows(cell, form) for cell in row):
                    return InputError(
                        f"line {begins:,} of {path}: a quoted cell that begins there holds whole records up to line "
                        f"{ends:,}; close its quote where the cell ends"
                    )
        except csv.Error as error:
            problem, begins = str(error), before + 1
    if problem == "unexpected end of data":
        problem = "a quote that begins in this record never ends; close it, or leave it out"
    return InputError(f"line {begins:,} of {path}: {problem}")


def _ragged(path: Path, form: _Form, row: Sequence[str], line: int) -> InputError:
    """Return the error for a record with too many or too few cells."""
    names, cells = len(form.names), len(row)
    title = f", or say {keyword('skip_rows', form.skipped + 1)} if the line before is a title" * (
        line == form.skipped + 2
    )
    return InputError(
        f"line {line:,} of {path} has {cells} {'cell' if cells == 1 else 'cells'}, the header {names} "
        f"names (delimiter: {DELIMITERS[form.delimiter]}); give it as many{title}"
    )
