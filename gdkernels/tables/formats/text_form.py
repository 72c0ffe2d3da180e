"""The form of a text file: its delimiter, the columns' names, and the line where its records begin.

Lines before those, such as blank ones, titles and comments, belong here; reading the records does not.
"""

from __future__ import annotations

import csv
import logging
import re
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from gdkernels.errors import InputError, keyword, shown
from gdkernels.system.ranges import whole
from gdkernels.tables.cells.cells import unwrapped
from gdkernels.tables.formats.blanks import without_blanks
from gdkernels.tables.formats.header import checked_names, numbered_names
from gdkernels.tables.formats.streams import open_text

if TYPE_CHECKING:
    from _csv import Reader

__all__ = [
    "COMMENT", "DELIMITERS", "UNDIVIDED", "TextForm", "TextOptions", "form_of", "quote_problem", "reader_of", "skip",
]  # fmt: skip

_LOOK = 20  # records that are looked at to tell a header from a record
DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_NOTHING = " \r\n" + "".join(DELIMITERS)  # a line of these holds no cell
COMMENT = "#"
_RULE = re.compile(r"\s*(?::?-{3,}:?)?\s*")  # below the header of a table in Markdown
UNDIVIDED = "expected after"  # in what the csv module says where a quote closes and its cell goes on
_log = logging.getLogger("gdkernels")


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

    def __post_init__(self) -> None:
        """Raise `InputError` for what they cannot be."""
        if self.header is not None and not isinstance(self.header, bool):
            raise InputError(f"{keyword('header')} must be True, False or None, got {shown(self.header)}")
        if not whole(0).has(self.skip_rows):
            raise InputError(f"{keyword('skip_rows')} must be {whole(0).wanted}, got {shown(self.skip_rows)}")


@dataclass(frozen=True)
class TextForm:
    """The form of a text file: what divides its cells, the columns' names, and where its first record is.

    Blanks may stand around quotes, as in ``"a" , "b"``.
    """

    delimiter: str
    names: list[str]
    skipped: int
    has_header: bool
    spaced: bool = False


def form_of(path: Path, encoding: str, options: TextOptions) -> TextForm:
    """Find out how a file is written, by the first line after those that are to be skipped.

    Raises
    ------
    InputError
        If it is no header, and nobody said that it is a record.
    """
    skipped, said = options.skip_rows, None
    with open_text(path, encoding) as file:
        skip(file, skipped)
        start = file.readline(8).strip()
    # Excel's way to say it; a tab was stripped.
    if start.lower().startswith("sep=") and (not start[4:] or start[4:] in DELIMITERS):
        said, skipped = start[4:] or "\t", skipped + 1
    # Without a header, a line of delimiters is a record of gaps.
    blank = _blank_lines(path, encoding, skipped, _NOTHING if options.header is not False else None)
    skipped += blank
    delimiter, first, problem = _first_line(path, encoding, skipped, said)
    if not any(first):
        delimiter, first, problem = _first_line(path, encoding, skipped, said, spaced=True)
    line = f"line {skipped + 1:,}" if skipped else "the first line"
    if not any(first):
        raise InputError(f"{line} of {path} is no header: {problem}")
    if blank and options.header is False and len(first) == 1:
        raise InputError(
            f"line {skipped - blank + 1:,} of {path} is blank: in a single column, that may be a gap; write NA there, "
            f"or say {keyword('skip_rows', skipped)}"
        )
    spaced = _is_spaced(path, encoding, delimiter, skipped)
    if spaced:
        _, first, _ = _first_line(path, encoding, skipped, delimiter, spaced)
    if options.header is None and (comments := _comment_lines(path, encoding, skipped)):
        raise InputError(
            f"{line} of {path} begins with {COMMENT}, as comments do, and is no header: say "
            f"{keyword('skip_rows', skipped + comments)} to begin with line {skipped + comments + 1:,}"
        )
    with open_text(path, encoding) as file:
        try:
            records = list(filter(None, islice(reader_of(file, delimiter, skipped, spaced), 1, _LOOK)))
        except csv.Error:
            records = []
    if sum(map(bool, first)) == 1 and (title := _divided(path, encoding, skipped + 1)) is not None:
        raise InputError(
            f"{line} of {path} is a single name, but the next lines have {title[1]} cells each (delimiter: "
            f"{DELIMITERS[title[0]]}); if it is a title, say {keyword('skip_rows', skipped + 1)}"
        )
    if records and all(map(_RULE.fullmatch, records[0])):
        raise InputError(
            f"{path} is a table for people to read, with a line of dashes below its header: remove that line, and the "
            "bars at both ends of each line"
        )
    if blank:
        lines = f"line {skipped:,}" if blank == 1 else f"lines {skipped - blank + 1:,} to {skipped:,}"
        _log.warning("%s of %s: blank, and skipped", lines, path)
    if options.header is False:
        return TextForm(delimiter, numbered_names(first), skipped, has_header=False, spaced=spaced)
    names = checked_names(first, records, f"{line} of {path}", str(path), sure=options.header is True)
    return TextForm(delimiter, names, skipped, has_header=True, spaced=spaced)


def _first_line(
    path: Path, encoding: str, skipped: int, said: str | None, spaced: bool = False
) -> tuple[str, list[str], str]:
    """Return the delimiter, which divides the first line into most cells, these cells, and the problem."""
    best: tuple[str, list[str]] = (said or ",", [])
    problem, wrong = "it must hold the names of the columns", ""
    for delimiter in DELIMITERS if said is None else (said,):
        with open_text(path, encoding) as file:
            try:
                cells = [unwrapped(cell).strip() for cell in next(reader_of(file, delimiter, skipped, spaced), [])]
            except csv.Error as error:  # a long line that this delimiter does not divide is longer than a cell may be
                if UNDIVIDED in str(error):
                    wrong = wrong if _count(path, encoding, skipped, delimiter) < 1 else quote_problem(delimiter)
                else:
                    problem = str(error)
                continue
        best = max(best, (delimiter, cells), key=lambda found: len(found[1]))
    # Where a quote hides what divides the cells, others leave the line whole.
    return (best[0], [], wrong) if wrong and len(best[1]) < 2 else (*best, wrong or problem)


def quote_problem(delimiter: str) -> str:
    """Return what the csv module means where a quote closes and its cell goes on."""
    return (
        f"a quote closes before its cell ends: leave out what stands between it and the {DELIMITERS[delimiter]}, also "
        'spaces, and write a quote within a cell twice ("")'
    )


def _count(path: Path, encoding: str, skipped: int, delimiter: str) -> int:
    """Return how often a delimiter is in the first line."""
    with open_text(path, encoding) as file:
        skip(file, skipped)
        return file.readline().count(delimiter)


def _blank_lines(path: Path, encoding: str, skipped: int, nothing: str | None) -> int:
    """Return how many lines hold nothing but these characters, or spaces, before the first that does; 0 if all do."""
    with open_text(path, encoding) as file:
        skip(file, skipped)
        count = 0
        while line := file.readline():
            if line.strip(nothing):
                return count
            count += 1
    return 0


def _is_spaced(path: Path, encoding: str, delimiter: str, skipped: int) -> bool:
    """Return whether blanks stand around quotes in the first records, of which more can be read so."""
    plain, is_wrong = _first_records(path, encoding, delimiter, skipped, spaced=False)
    behind = any(cell.startswith(" ") and cell.lstrip().startswith('"') for row in plain for cell in row)
    if not (behind or is_wrong):
        return False
    spaced, is_worse = _first_records(path, encoding, delimiter, skipped, spaced=True)
    return not is_worse or len(spaced) > len(plain)


def _first_records(
    path: Path, encoding: str, delimiter: str, skipped: int, *, spaced: bool
) -> tuple[list[list[str]], bool]:
    """Return the cells of the first records, and whether one of them cannot be read."""
    found: list[list[str]] = []
    with open_text(path, encoding) as file:
        try:
            found.extend(islice(reader_of(file, delimiter, skipped, spaced), _LOOK))
        except csv.Error:
            return found, True
    return found, False


def _comment_lines(path: Path, encoding: str, skipped: int) -> int:
    """Return how many lines are comments before the first that is none; a header may begin as they do."""
    count, before = 0, ""
    with open_text(path, encoding) as file:
        skip(file, skipped)
        while (line := file.readline()) and (line.startswith(COMMENT) or (count and not line.strip())):
            count, before = count + 1, line
    if not line or not count:
        return 0
    width, delimiter = max((len(_cells(line, delimiter)), delimiter) for delimiter in DELIMITERS)
    return count - 1 if len(_cells(before, delimiter)) == width else count


def _cells(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:  # longer than a cell may be
        return []


def _divided(path: Path, encoding: str, skipped: int) -> tuple[str, int] | None:
    """Return the delimiter that divides the next lines into several cells each, always as many; None for none."""
    with open_text(path, encoding) as file:
        skip(file, skipped)
        lines = [line for line in (file.readline(1 << 16) for _ in range(5)) if line.strip(_NOTHING)]
    for delimiter in DELIMITERS:
        rows = list(csv.reader(lines, delimiter=delimiter))
        counts = set(map(len, rows))
        if len(lines) > 1 and len(counts) == 1 and (count := counts.pop()) > 1 and sum(map(bool, rows[0])) > 1:
            return delimiter, count
    return None


def reader_of(file: TextIO, delimiter: str, skipped: int, spaced: bool = False) -> Reader:
    """Return what divides the lines after those that are skipped into cells, as the csv module does."""
    skip(file, skipped)
    lines = without_blanks(file, delimiter) if spaced else file
    return csv.reader(lines, delimiter=delimiter, strict=True, skipinitialspace=spaced)


def skip(file: TextIO, lines: int) -> None:
    """Go past so many lines."""
    for _ in range(lines):
        file.readline()
