"""Tables from text: a header, then a record a line, the cells divided by a comma, a semicolon, a tab or a bar.

The standard library's csv module reads, as it takes quotes as they are, tells each record's cells, and streams. Faster
readers were tried and fill up short records without a word. What cells mean is decided elsewhere, over all of them.
"""

import csv
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from gdkernels.errors import InputError, keyword
from gdkernels.tables.cells.cells import Cells
from gdkernels.tables.formats.streams import encoding_of, open_text
from gdkernels.tables.formats.text_form import (
    COMMENT,
    DELIMITERS,
    UNDIVIDED,
    TextForm,
    TextOptions,
    form_of,
    quote_problem,
    reader_of,
)
from gdkernels.tables.table.table import UnreadTable

__all__ = ["DELIMITERS", "TextOptions", "read_text"]

# Rows turned into columns at a time: of more, Python's garbage collector would look through them again and again.
_ROWS = 256
_PREAMBLE, _NEXT = 50, 5  # lines above a table, as banks write them, and records that show where one begins
_BLOCK = 64  # times so many make a block of cells
_PART = 1 << 25  # characters: with these, a part is large enough, however few its records are


def read_text(path: Path, records: int, options: TextOptions | None = None) -> Iterator[UnreadTable]:
    """Yield the table of a text file in parts of at most so many records; the first part may be empty.

    Raises
    ------
    InputError
        For a header or a record that cannot be: the message names the line.
    """
    encoding = encoding_of(path)
    form = form_of(path, encoding, options or TextOptions())
    first = 0
    with open_text(path, encoding) as file:
        reader = reader_of(file, form.delimiter, form.skipped, form.spaced)
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


def _part(reader: Iterator[list[str]], records: int, form: TextForm) -> list[Cells] | None:
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


def _swallows(cell: str, form: TextForm) -> bool:
    """Return whether a quoted cell holds a whole record, as one does whose quote was never closed."""
    width = len(form.names)
    if width == 1 or ("\n" not in cell and "\r" not in cell):
        return False
    *inner, last = cell.splitlines()[1:] or [""]
    whole = [*inner, *([last] if last.endswith(form.delimiter) else [])]
    return any(len(row) == width for row in csv.reader(whole, delimiter=form.delimiter, skipinitialspace=form.spaced))


def _wrong(path: Path, encoding: str, form: TextForm, problem: str = "") -> InputError:
    """Return the error for the first record that cannot be, by reading them one by one."""
    width = len(form.names)
    with open_text(path, encoding) as file:
        reader = reader_of(file, form.delimiter, form.skipped, form.spaced)
        begins, before = form.skipped + 1, form.skipped
        try:
            for row in reader:
                begins, ends = before + 1, form.skipped + reader.line_num
                before = ends
                rows = [row]
                if (row or width == 1) and len(row) != width and not _mend(rows, width):
                    return _ragged(path, form, row, ends, _widths(reader))
                if any(_swallows(cell, form) for cell in row):
                    return InputError(
                        f"line {begins:,} of {path}: a quoted cell that begins there holds whole records up to line "
                        f"{ends:,}; close its quote where the cell ends"
                    )
        except csv.Error as error:
            problem, begins = str(error), before + 1
    if problem == "unexpected end of data":
        problem = "a quote that begins in this record never ends; close it, or leave it out"
    if UNDIVIDED in problem:
        problem = quote_problem(form.delimiter)
    return InputError(f"line {begins:,} of {path}: {problem}")


def _widths(reader: Iterator[list[str]]) -> set[int]:
    """Return how many cells the next few records have."""
    try:
        return {len(row) for row in islice(reader, _NEXT) if row}
    except csv.Error:
        return set()


def _ragged(path: Path, form: TextForm, row: Sequence[str], line: int, following: set[int]) -> InputError:
    """Return the error for a record with too many or too few cells; `following` is how many the next ones have."""
    names, cells = len(form.names), len(row)
    more = ""
    if row[:1] and row[0].startswith(COMMENT):
        more = f", or leave it out if it is a comment, as its {COMMENT} says"
    elif line == form.skipped + 2 and cells == names + 1:
        more = (
            f"; if the first cell of each is the name of a record, as R writes them, name that column too; or say "
            f"{keyword('skip_rows', form.skipped + 1)} if the line before is a title"
        )
    elif line == form.skipped + 2:
        more = f", or say {keyword('skip_rows', form.skipped + 1)} if the line before is a title"
    elif line <= form.skipped + _PREAMBLE and following == {cells}:
        more = f", or say {keyword('skip_rows', line - 1)} if it names the columns, and what is above it is no table"
    return InputError(
        f"line {line:,} of {path} has {cells} {'cell' if cells == 1 else 'cells'}, the header {names} "
        f"names (delimiter: {DELIMITERS[form.delimiter]}); give it as many{more}"
    )
