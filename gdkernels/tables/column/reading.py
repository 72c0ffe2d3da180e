"""The meaning of a column's cells, as a value: decided once for all of a table, kept in the model, applied everywhere.

It says whether cells are numbers, dates, truth values or text, in which format, and which spellings are gaps.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from gdkernels.errors import InputError, keyword, shown
from gdkernels.system.cached_property import cached_property
from gdkernels.tables.cells.dates import ISO, is_pattern
from gdkernels.tables.cells.numbers import PLAIN, NumberFormat, plain_number

__all__ = [
    "BOOLEAN",
    "MISSING",
    "NUMBER",
    "TEXT",
    "Doubt",
    "Finding",
    "Reading",
    "compared",
    "date_reading",
    "number_reading",
    "reading_of",
    "with_gaps",
]

# What people write where there is nothing. "None" is not among them: in many tables it is a value, such as "no fence".
MISSING = ("", "?", "N/A", "NA", "NULL", "NaN", "Null", "nan", "null")
# Among numbers and dates, nothing else can be meant by these, however they are capitalised; Excel writes some.
_NUMBER_GAPS = (
    *("", "#div/0!", "#n/a", "#null!", "#num!", "#ref!", "#value!", "(null)", "-", "--", "---", ".", "...", "<na>"),
    *("?", "n.a.", "n/a", "na", "nan", "nat", "none", "null", "\\n", "–", "—"),
)
_DATE_GAPS = (*_NUMBER_GAPS, "0000-00-00", "0000-00-00 00:00:00", "00/00/0000", "00.00.0000", "unknown")
_BOOLEAN = "true/false"
_TEXT = "text"


@dataclass(frozen=True)
class Reading:
    """The meaning of a column's cells.

    Attributes
    ----------
    kind
        "number", "date", "boolean" or "text".
    format
        Of numbers an example such as ``1,234.5 km``, of dates a pattern such as ``%d.%m.%Y`` or ``ISO 8601``, of truth
        values how they are capitalised, as ``False/True``: others are read too.
    gaps
        The spellings of a gap; among numbers and dates, capitals do not matter.
    lenient
        Whether a cell that does not fit counts as a gap, in place of an error.
    """

    kind: str = _TEXT
    format: str = ""
    gaps: tuple[str, ...] = MISSING
    lenient: bool = False

    @cached_property
    def number_format(self) -> NumberFormat:
        return NumberFormat.of(self.format)

    @property
    def has_comma(self) -> bool:
        """Whether decimals begin with a comma."""
        return self.number_format.decimal == ","

    @cached_property
    def _gaps(self) -> frozenset[str]:
        return frozenset(self.gaps)

    def is_gap(self, cell: str) -> bool:
        """Return whether a cell without spaces around it stands for nothing."""
        return cell in self._gaps or (self.kind in ("number", "date") and cell.casefold() in self._gaps)

    @cached_property
    def sentinels(self) -> tuple[float, ...]:
        """The numbers that stand for a gap."""
        found = [plain_number(gap) for gap in self.gaps]
        return tuple(number for number in found if number is not None and math.isfinite(number))

    def spelled(self, text: str) -> str:
        """Return text as this reading has it: truth values in its own capitals."""
        if self.kind != "boolean" or text.casefold() not in ("true", "false"):
            return text
        return self.format.split("/")[text.casefold() == "true"]

    def __str__(self) -> str:
        """Return the words that ``--read`` takes."""
        return {"text": _TEXT, "boolean": _BOOLEAN}.get(self.kind, self.format)

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "format": self.format, "gaps": list(self.gaps), "lenient": self.lenient}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Reading:
        """Return what `to_json` described; ValueError, KeyError or TypeError where it is none."""
        found = cls(value["kind"], value["format"], tuple(value["gaps"]), value["lenient"])
        if found.kind not in ("number", "date", "boolean", "text") or type(found.lenient) is not bool:
            raise ValueError("no reading")
        if not all(isinstance(gap, str) for gap in (found.format, *found.gaps)):
            raise ValueError("no reading")
        if found.kind == "number":
            NumberFormat.of(found.format)
        if found.kind == "boolean" and found.format.casefold() != BOOLEAN.format:
            raise ValueError("no truth values")
        if found.kind == "date" and not is_pattern(found.format):
            raise ValueError("no pattern of dates")
        return found


TEXT = Reading()
BOOLEAN = Reading("boolean", "false/true")
NUMBER = Reading("number", str(PLAIN), _NUMBER_GAPS)


def number_reading(style: NumberFormat, *, lenient: bool = False) -> Reading:
    """Return the reading of numbers in a format."""
    return Reading("number", str(style), _NUMBER_GAPS, lenient)


def date_reading(pattern: str) -> Reading:
    """Return the reading of dates that follow a pattern."""
    return Reading("date", pattern, _DATE_GAPS)


def with_gaps(reading: Reading, missing: Iterable[str]) -> Reading:
    """Return a reading for which these spellings are gaps too."""
    more = tuple(text.strip() for text in missing)
    return replace(reading, gaps=tuple(dict.fromkeys((*reading.gaps, *more))))


def reading_of(column: str, words: str) -> Reading:
    """Return the reading that the words of ``--read`` mean.

    Raises
    ------
    InputError
        If they mean none.
    """
    if words == _TEXT:
        return TEXT
    if words == _BOOLEAN:
        return BOOLEAN
    if is_pattern(words):
        return date_reading(words)
    try:
        return number_reading(NumberFormat.of(words))
    except ValueError:
        raise InputError(
            f"{keyword('read', {column: words[:60]})}: {shown(words)} is no format; give numbers as the example "
            "1234.5, 1234,5, 1,234.5, 1.234,5 or 1 234,5, with a unit where they have one ($1,234.5 or 1234.5 km), "
            f"dates as a pattern such as %d/%m/%Y or as '{ISO}', or say {_BOOLEAN} or {_TEXT}"
        ) from None


@dataclass(frozen=True)
class Doubt:
    """The reason why nobody can tell what a column means.

    Attributes
    ----------
    row, cell
        A cell that shows it, by the number of its record.
    what
        The problem.
    formats
        The readings that would settle it, in the words of ``--read``.
    numeric
        Whether the others are numbers.
    """

    row: int
    cell: str
    what: str
    formats: tuple[str, ...] = ()
    numeric: bool = True

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Doubt:
        """Return what `dataclasses.asdict` told of a doubt."""
        return cls(**{**value, "formats": tuple(value["formats"])})

    def message(self, name: str, otherwise: str | None = None) -> str:
        """Return the problem and the advice: to take the column as text or leave it out, or `otherwise`."""
        shown = repr(self.cell if len(self.cell) <= 40 else self.cell[:40] + "…")
        text = otherwise or f"say {keyword('categorical', [name])} or {keyword('ignore', [name])}"
        if self.cell == name:
            return f"{shown} is the name of the column: if it is a header in the middle, remove it, or {text}"
        if self.formats:
            reads = " or ".join(keyword("read", {name: words}) for words in self.formats)
            return f"{shown} {self.what}; say {reads}, or {text}"
        gap = keyword("missing", [self.cell]) + (f" or {keyword('numeric', [name])}" if self.numeric else "")
        gap += " to count it as a gap"
        return f"{shown} {self.what}; correct it, say {gap}, or {text}"


@dataclass(frozen=True)
class Finding:
    """The findings about the cells of a column.

    Attributes
    ----------
    reading
        The meaning of the cells; text if there is a doubt.
    doubt
        Why that cannot be told, or None.
    note
        A remark for the user.
    number
        The reading as numbers that fits most cells, for who says that they are; None where no cell is one.
    beside_commas
        The doubt that there is where another column of the table has decimal commas: a point may be in either place.
    unread
        Why the column could not be read, so that all of it is gaps; "" if it was read.
    """

    reading: Reading
    doubt: Doubt | None = None
    note: str = ""
    number: Reading | None = field(default=None, repr=False)
    beside_commas: Doubt | None = field(default=None, repr=False)
    unread: str = ""

    def to_json(self) -> dict[str, Any]:
        doubts = [None if doubt is None else asdict(doubt) for doubt in (self.doubt, self.beside_commas)]
        number = None if self.number is None else self.number.to_json()
        told = {"reading": self.reading.to_json(), "note": self.note, "number": number, "doubts": doubts}
        return told | {"unread": self.unread}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Finding:
        """Return what `to_json` described."""
        doubt, beside_commas = (None if told is None else Doubt.from_json(told) for told in value["doubts"])
        number = None if value["number"] is None else Reading.from_json(value["number"])
        reading = Reading.from_json(value["reading"])
        return cls(reading, doubt, value["note"], number, beside_commas, value["unread"])


def compared(findings: Mapping[str, Finding]) -> Mapping[str, Finding]:
    """Return what was found of a table's columns each alone, with the doubts that one raises about another."""
    commas = [name for name, found in findings.items() if found.reading.kind == "number" and found.reading.has_comma]
    if not commas:
        return findings
    return {
        name: found if found.beside_commas is None else Finding(TEXT, found.beside_commas, number=found.number)
        for name, found in findings.items()
    }
