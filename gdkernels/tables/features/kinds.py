"""Choosing the use of each column, by its content or by the user's options."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from gdkernels.errors import InputError, keyword
from gdkernels.tables.cells.cells import Cells
from gdkernels.tables.column.bare_dates import bare_pattern
from gdkernels.tables.column.column_data import Column, Floats, NumberColumn, Rows, Text, finding_of, number_text, taken
from gdkernels.tables.column.meaning import read_as, settled_together, with_missing
from gdkernels.tables.column.reading import NUMBER, Finding, Reading, date_reading, reading_of, with_gaps
from gdkernels.tables.column.sentinels import sentinels_of
from gdkernels.tables.features.columns import Category, Date, Dropped, Kind, Number
from gdkernels.tables.features.scaling import count_distinct, refuse_extremes
from gdkernels.tables.table.checked import as_labels, numbers_of
from gdkernels.tables.table.table import Table, no_column
from gdkernels.tables.table.unread import refuse_unread

__all__ = ["Choices", "are_whole", "choose", "is_code", "refuse_doubts", "reread"]

FEW = 20  # of fewer records, all may differ by chance
NUMBERING = "an identifier: consecutive integers"
_PIECE = 16_384  # records looked at at a time
WHOLE = 2.0**53  # from here on, float64 cannot tell whole numbers apart

_ID = re.compile(r"(^|[\s_.\-#])(p?id|uuid|guid|key|index|idx|nr|no|number|code)\.?$", re.IGNORECASE)
# What people are called by, and goods are sold under: figures that nobody adds up.
_CALLED = re.compile(
    r"(^|[\s_.\-])(phone|tel|telephone|telefon|mobile|cell|fax|isbn|ean|gtin|upc|imei|iban|ssn|siret|siren|barcode)([\s_.\-]|$)",
    re.IGNORECASE,
)
_PLACE = re.compile(r"(^|[\s_.\-])(zip|zip_?code|postcode|plz|postal)\.?$", re.IGNORECASE)
_CAMEL_ID = re.compile(r"[a-z](Id|ID|Key|Index)$")


@dataclass(frozen=True)
class Choices:
    """The user's options for columns.

    Attributes
    ----------
    ignore, keep, categorical, numeric
        Columns to leave out, to use although they look like identifiers, to take as text, to take as numbers: what is
        none in these is a gap.
    read
        By column, what its cells mean, in the words of `Reading`.
    missing
        Spellings of a gap, besides those that always count.
    identifiers
        Columns that are known to number the records, though a sample of them does not show it.
    gaps
        By column, further spellings of a gap.
    aside
        Columns that serve another purpose, and which: they are no inputs unless another option names them.
    later
        Whether the rows to predict come after those of training.

    Raises
    ------
    InputError
        If one column is said to be two things.
    """

    ignore: Collection[str] = ()
    keep: Collection[str] = ()
    categorical: Collection[str] = ()
    numeric: Collection[str] = ()
    read: Mapping[str, str] = field(default_factory=dict)
    missing: Collection[str] = ()
    identifiers: Collection[str] = ()
    aside: Mapping[str, str] = field(default_factory=dict)
    gaps: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    later: bool = False

    def __post_init__(self) -> None:
        told = self._told
        for one, other in (*(("ignore", name) for name in list(told)[1:]), ("categorical", "numeric")):
            if both := sorted({*told[one]} & {*told[other]}):
                raise InputError(f"column {both[0]!r} cannot be both {keyword(one)} and {keyword(other)}; say one")

    def check_targets(self, targets: Collection[str]) -> None:
        """Reject what was said of a target and is for inputs.

        Raises
        ------
        InputError
            Then; it names the column.
        """
        for name, columns in (("ignore", self.ignore), ("keep_columns", self.keep)):
            if both := sorted({*columns} & {*targets}):
                raise InputError(
                    f"column {both[0]!r} is the target, and {keyword(name)} is for inputs: leave it out, or predict "
                    "another column"
                )

    def check_names(self, names: Sequence[str], source: str) -> None:
        """Refuse a column that is named and not there.

        Raises
        ------
        InputError
            Then; it names the keyword as well.
        """
        for said_by, columns in (*self._told.items(), ("read", self.read)):
            for name in columns:
                if name not in names:
                    raise no_column(name, names, source, said_by)

    @property
    def _told(self) -> dict[str, Collection[str]]:
        return {
            "ignore": self.ignore,
            "keep_columns": self.keep,
            "categorical": self.categorical,
            "numeric": self.numeric,
        }

    @property
    def named(self) -> set[str]:
        """The columns that are named."""
        return {*self.ignore, *self.keep, *self.categorical, *self.numeric, *self.read}

    def is_no_input(self, name: str) -> bool:
        """Return whether a column is left out, or serves another purpose alone, whatever it holds."""
        return name in self.ignore or (name in self.aside and name not in self.named)

    def refined(self, name: str, finding: Finding) -> Finding:
        """Return the finding about a column, unless the user said something else of it."""
        if name in self.read:
            return Finding(with_gaps(self._lenient(name, reading_of(name, self.read[name])), self.missing))
        ambiguous = finding.doubt is not None and finding.doubt.formats
        if name in self.numeric and not ambiguous and finding.reading.kind != "number" and finding.number is not None:
            return Finding(finding.number, number=finding.number)
        return finding

    def _lenient(self, name: str, reading: Reading) -> Reading:
        return replace(reading, lenient=True) if name in self.numeric and reading.kind == "number" else reading


def reread(table: Table, choices: Choices) -> Table:
    """Return a table whose columns are read as the user said; the others stay as they were found.

    Raises
    ------
    InputError
        For a format of a column that is not there, or that is none.
    """
    for name in choices.read:
        if name not in table.columns:
            raise no_column(name, table.names, table.source, "read")
    if not choices.read and not choices.missing and not choices.numeric and not choices.gaps:
        return table
    columns = {name: _reread(name, column, choices) for name, column in table.columns.items()}
    return Table(settled_together(columns), table.source, table.targets, table.first)


def _reread(name: str, column: Column, choices: Choices) -> Column:
    if finding_of(column).unread:
        return column
    column = with_missing(column, (*choices.missing, *choices.gaps.get(name, ())))
    found = finding_of(column)
    refined = choices.refined(name, found)
    if refined == found:
        return column
    again = read_as(column, refined.reading)
    return again if isinstance(again, np.ndarray) else replace(again, finding=refined)


def choose(
    table: Table, names: Collection[str], rows: Rows, choices: Choices, targets: Floats | None = None
) -> list[Kind]:
    """Return what becomes of the columns `names`: their kind by the whole table, the rest by the training `rows`.

    Parameters
    ----------
    targets
        What is to be predicted [training rows, outputs], for columns of many values; None for numbers of no use there.

    Raises
    ------
    InputError
        For a choice of a column that is not there, and where nobody can tell what the cells of one mean: all such
        columns are named.
    """
    choices.check_names(table.names, table.source)
    refuse_unread(table, [name for name in names if not choices.is_no_input(name)])
    told = {*choices.ignore, *choices.categorical}
    refuse_doubts({name: finding_of(table.columns[name]) for name in names if name not in told}, table.source)
    return [_choose(table, name, rows, choices, targets) for name in names]


def refuse_doubts(findings: Mapping[str, Finding], source: str, otherwise: str | None = None) -> None:
    """Refuse columns whose meaning nobody can tell, all of them at once.

    Parameters
    ----------
    source
        The origin of the columns.
    otherwise
        The advice, in place of taking a column as text or leaving it out.

    Raises
    ------
    InputError
        Then; it names a cell of each, and what can be done.
    """
    doubts = [(name, found.doubt) for name, found in findings.items() if found.doubt is not None]
    told = [
        f"record {doubt.row + 1:,} of {source}, column {name!r}: {doubt.message(name, otherwise)}"
        for name, doubt in doubts
    ]
    if told:
        head = f"{len(told)} columns cannot be read as they are. " if len(told) > 1 else ""
        raise InputError(head + ". ".join(told))


def _choose(table: Table, name: str, rows: Rows, choices: Choices, targets: Floats | None) -> Kind:
    column = table.columns[name]
    found = finding_of(column)
    if name in choices.ignore:
        return Dropped(name, "ignored, as asked for" + (f": it {found.unread}" if found.unread else ""))
    if name in choices.identifiers:
        return Dropped(name, NUMBERING)
    if choices.is_no_input(name):
        return Dropped(name, choices.aside[name])
    if name in choices.numeric:
        values = _numbers(table, name)
        return Number.fit(name, values[rows], _number_reading(found), _said(column, values, rows, found))
    if name in choices.categorical:
        return Category.fit(name, taken(as_labels(column), rows), targets=targets)
    kept = name in choices.keep
    if isinstance(column, Text):
        return _text(name, column, rows, found, kept, targets, later=choices.later)
    values = _numbers(table, name)
    if (pattern := bare_pattern(values)) is not None:
        reading = date_reading(pattern)
        dates = read_as(column, reading)
        assert isinstance(dates, Text)
        return Date.fit(name, dates.take(rows), reading, later=choices.later)
    why = None if kept else _identifier(name, values) or _beyond(column, values)
    return (
        Dropped(name, why) if why else Number.fit(name, values[rows], found.reading, _said(column, values, rows, found))
    )


def _numbers(table: Table, name: str) -> Floats:
    """Return an input's numbers; those of rows kept from training can be as wrong as others."""
    values = numbers_of(table, name)
    refuse_extremes(name, values)
    return values


def _number_reading(found: Finding) -> Reading:
    return found.reading if found.reading.kind == "number" else found.number or NUMBER


def _text(
    name: str, column: Text, rows: Rows, found: Finding, kept: bool, targets: Floats | None, *, later: bool
) -> Kind:
    if found.reading.kind == "date":
        return Date.fit(name, column.take(rows), found.reading, later=later)
    present = column.codes[column.codes >= 0]
    note = found.note
    if note and found.number is not None:
        note += f"; say {keyword('numeric', [name])} to take the others for gaps"
    differ = len(present) <= len(column.levels) and len(np.unique(present)) == len(present)
    if not kept and len(present) >= FEW and differ:
        return Dropped(name, "an identifier: all its text differs" + (f"; {note}" if note else ""))
    return Category.fit(name, column.take(rows), note, targets)


def _said(column: Column, values: Floats, rows: Rows, found: Finding) -> str:
    """Return what the user should know of numbers: their format, cells that count as gaps, what may be one."""
    said = [] if found.reading.format in ("", NUMBER.format) else [f"read as {found.reading}"]
    said += [found.note] if found.note and found.reading.kind == "number" else []
    if found.reading.lenient:
        strict = read_as(column, replace(found.reading, lenient=False))
        if isinstance(strict, NumberColumn) and strict.wrong is not None and strict.wrong.any():
            count = int(strict.wrong.sum())
            counts = (
                "cell that is no such number counts as a gap"
                if count == 1
                else ("cells that are no such numbers count as gaps")
            )
            said.append(f"{count:,} {counts}")
    for sentinel in sentinels_of(values[rows]):
        count = int(np.sum(values[rows] == sentinel))
        shown = number_text(sentinel)
        said.append(f"{shown} is in {count:,} records, far from the others: if it means a gap, say "
                    f"{keyword('missing', [shown])}")  # fmt: skip
    return "; ".join(said)


def _beyond(column: Column, values: Floats) -> str | None:
    """Return why whole numbers that float64 cannot tell apart are no feature; None where they are others."""
    if isinstance(column, np.ndarray) or not len(values):
        return None
    if not (np.fmax.reduce(values) >= WHOLE or np.fmin.reduce(values) <= -WHOLE):
        return None
    large = np.flatnonzero(np.abs(values) >= WHOLE)
    source = column.source if isinstance(column, NumberColumn) else None
    if isinstance(source, Cells):
        whole = all(cell.strip().lstrip("+-").isdigit() for cell in source.take(large).tolist())
    else:
        whole = source is not None and source.dtype.kind in "iu"
    return "whole numbers beyond 2^53, which a network cannot tell apart" if whole else None


def are_whole(values: Floats) -> bool:
    """Return whether all are whole numbers: mostly, the first few tell."""
    pieces = (values[first : first + _PIECE] for first in range(0, len(values), _PIECE))
    return all((piece == np.round(piece)).all() for piece in pieces)


def is_code(name: str, values: Floats) -> bool:
    """Return whether numbers may be codes: whole, several records to each, and under a name of such."""
    if not any(names.search(name) for names in (_ID, _CAMEL_ID, _PLACE, _CALLED)):
        return False
    present = values[np.isfinite(values)]
    if not len(present) or present.min() < 0 or not are_whole(present):
        return False
    return 2 < count_distinct(present) <= len(present) / 2


def _identifier(name: str, values: Floats) -> str | None:
    if len(values) < FEW or not np.isfinite(values).all():
        return None
    span = float(values.max()) - float(values.min())
    # Whole numbers of a smaller range cannot all differ.
    if span < len(values) - 1 or not are_whole(values) or count_distinct(values) < len(values):
        return None
    if span == len(values) - 1:
        return NUMBERING
    if any(names.search(name) for names in (_ID, _CAMEL_ID, _CALLED)):
        return "an identifier: integers that all differ, under such a name"
    return None
