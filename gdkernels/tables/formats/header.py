"""The first line of a text file: the names of the columns, told from a record."""

from __future__ import annotations

from collections.abc import Sequence

from gdkernels.errors import InputError, keyword
from gdkernels.tables.cells.dates import patterns_of
from gdkernels.tables.cells.numbers import number_formats_of

__all__ = ["checked_names", "numbered_names"]

_QUOTES = {'""': "quotes with spaces around them", "''": "single quotes", "“”": "typographic quotes", "``": "backticks"}


def numbered_names(cells: Sequence[str]) -> list[str]:
    """Return names for the columns of a file without a header; empty cells at its end are no columns."""
    return [f"column {k}" for k, _ in enumerate(_without_ends(cells), 1)]


def checked_names(
    first: Sequence[str], records: Sequence[Sequence[str]], line: str, source: str, *, sure: bool
) -> list[str]:
    """Return the names of the columns that a line holds; empty cells at its end are none.

    Parameters
    ----------
    records
        Some that follow.
    line
        Its name in messages.
    sure
        Whether somebody said that it is a header.

    Raises
    ------
    InputError
        If a name is missing or there twice, or the line looks like a record.
    """
    names = list(_without_ends(first))
    option = keyword("header", False)
    if not sure and _is_record(names, records):
        raise InputError(
            f"{line} holds numbers where the names of the columns belong, or values that later records hold too; put a "
            f"header line before it or say {option}, or say {keyword('header', True)} if these are names"
        )
    if not sure and names[0] and all(name[:1] + name[-1:] in _QUOTES and len(name) > 2 for name in names):
        raise InputError(
            f"{line} holds names in {_QUOTES[names[0][0] + names[0][-1]]}, which are part of the names then; write "
            f"double quotes without spaces around them, or none, or say {keyword('header', True)} if that is meant"
        )
    if not names[0]:  # as spreadsheets and data frames write the numbers of their rows
        names[0] = "column 1"
    seen: dict[str, int] = {}
    for k, name in enumerate(names, 1):
        if not name:
            raise InputError(f"column {k} of {source} has no name; name every column in the first line")
        if name in seen:
            raise InputError(
                f"columns {seen[name]} and {k} of {source} are both named {name!r}; give each its own name, or say "
                f"{option} if the first line is a record"
            )
        seen[name] = k
    return names


def _without_ends(cells: Sequence[str]) -> Sequence[str]:
    """Return cells without the empty ones at the end, which a delimiter behind the last column makes."""
    last = max((k for k, cell in enumerate(cells) if cell), default=0)
    return cells[: last + 1]


def _is_record(names: Sequence[str], records: Sequence[Sequence[str]]) -> bool:
    """Return whether a line is a record rather than a header: by numbers in it, and values that come again below.

    Years and other whole numbers may be names.
    """
    numbers = [bool(number_formats_of(name) or patterns_of(name)) for name in names]
    if all(numbers):
        return True
    again = [any(len(row) > k and row[k].strip() == name for row in records) for k, name in enumerate(names)]
    if any(numbers) and any(back for back, number in zip(again, numbers, strict=True) if not number):
        return True
    whole = all(name.lstrip("+-").isdigit() for name, number in zip(names, numbers, strict=True) if number)
    return (2 * sum(numbers) >= len(names) and not whole) or (len(names) > 1 and all(again))
