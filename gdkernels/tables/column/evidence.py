"""Deciding what the cells of a column mean: by elimination of formats, over all the cells that there are."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from gdkernels.tables.cells.cells import CellBlock
from gdkernels.tables.cells.dates import ISO, is_clock, patterns_of
from gdkernels.tables.cells.numbers import PLAIN, NumberFormat, is_code, is_loss, number_formats_of
from gdkernels.tables.column.column_data import Floats
from gdkernels.tables.column.plain import PlainNumbers, plain_numbers
from gdkernels.tables.column.reading import (
    BOOLEAN,
    MISSING,
    NUMBER,
    TEXT,
    Doubt,
    Finding,
    Reading,
    date_reading,
    number_reading,
    with_gaps,
)
from gdkernels.tables.column.whole_numbers import WholeNumbers

__all__ = ["MOSTLY", "Evidence"]

MOSTLY = 0.9  # where this share of the cells follow a format, the others are mistakes
_UNITS = 5  # of fewer different cells, a word behind the figures makes names of them
_HALF = 0.5  # from this share on, the user is told

Format = NumberFormat | str
Key = tuple[Format, ...]

_CERTAIN_POINT = re.compile(r"(?:^|\0)[^.\0]*\.(?:[0-9]{0,2}|[0-9]{4,})(?:[eE\s][^\0]*)?(?:\0|$)")
# With three decimals, a point divides them from a zero, from nothing, or from more figures than a group has.
_NO_GROUP = re.compile(r"(?:^|(?<=\0))\s*[-+]?(?:0?|[0-9]{4,})\.[0-9]")
_POINTED = re.compile(r"[0-9]\.[0-9]")
_PHONE = re.compile(r"(?:^|\0)\s*\+[0-9]{7,}\s*(?:\0|$)")
_WHOLE, _POINT = number_formats_of("1"), number_formats_of("1.5")
# Two meanings of the same cells between which they cannot decide.
_SWAPPED = {
    "%m/%d/%Y": "%d/%m/%Y",
    "%m/%d/%y": "%d/%m/%y",
    "%m-%d-%Y": "%d-%m-%Y",
    "%m-%d-%y": "%d-%m-%y",
}


@dataclass
class _Seen:
    """The number of cells that follow the same formats, and the first of them."""

    count: int
    row: int
    cell: str
    distinct: set[str]  # a few of them


class Evidence:
    """The formats that the cells of a column follow, gathered part by part.

    Parameters
    ----------
    delimiter
        The text that divides the cells of a record, or None.
    missing
        Spellings that the user said are gaps.
    """

    def __init__(self, delimiter: str | None = None, missing: Collection[str] = ()) -> None:
        self._delimiter, self._missing = delimiter, tuple(missing)
        self._own_gaps = frozenset(map(str.strip, missing))
        self._seen: dict[Key, _Seen] = {}
        self._odd: dict[str, _Seen] = {}  # what is a gap among numbers or dates, and a value among text, by its text
        self._codes: _Seen | None = None
        self._losses = 0  # numbers that are negative by parentheses, or by a minus behind them
        self._whole = WholeNumbers()
        self._truths: set[str] | None = set()  # how "true" and "false" are spelled, None where there is other text
        self._any = False

    def add(self, block: CellBlock, first: int = 0) -> Floats | None:
        """Add cells, and return them as numbers where all are plain ones.

        Parameters
        ----------
        first
            The number of the first one's record.
        """
        plain = None if self._own_gaps else plain_numbers(block)
        if plain is not None and self._add_plain(block, plain, first):
            return plain.values
        distinct = block.distinct()
        counts = np.bincount(distinct.places, minlength=len(distinct.cells)).tolist()
        for cell, row, count in zip(distinct.cells, distinct.rows, counts, strict=True):
            text = cell.strip()
            if text in MISSING or text in self._own_gaps:
                continue
            key: Key | None = None
            if text.casefold() in _DATE_GAPS:
                seen = self._odd.get(text)
            elif is_code(text):
                seen = self._codes
            else:
                key = _formats_of(text)
                if len(key) >= len(_WHOLE) and not self._whole.long:
                    self._whole.note(text)
                seen = self._seen.get(key)
                if key and is_loss(text):
                    self._losses += count
                if text.casefold() not in ("true", "false"):
                    self._truths = None
                elif self._truths is not None:
                    self._truths.add(text)
            self._any = True
            if seen is not None:
                seen.count += count
                if len(seen.distinct) < _UNITS:
                    seen.distinct.add(text)
                continue
            seen = _Seen(count, first + row, text, {text})
            if key is not None:
                self._seen[key] = seen
            elif text.casefold() in _DATE_GAPS:
                self._odd[text] = seen
            else:
                self._codes = seen
        return None

    def _add_plain(self, block: CellBlock, plain: PlainNumbers, first: int) -> bool:
        """Add cells that are plain numbers; return False where a closer look is needed."""
        present = ~np.isnan(plain.values)
        count = int(np.count_nonzero(present))
        gaps_of_text = all(cell.strip() in MISSING for cell in plain.gaps)  # others would be values among text
        if not count:
            return gaps_of_text
        if np.isinf(plain.values).any() or not gaps_of_text:
            return False
        if "+" in block.text and _PHONE.search(block.text):  # a code
            return False
        key, row = _WHOLE, int(np.argmax(present))
        if "." in block.text:
            if _CERTAIN_POINT.search(block.text) is None:
                if (certain := _NO_GROUP.search(block.text)) is None:
                    return False
                row = block.text.count("\0", 0, certain.start())
            key = _POINT
        else:
            self._whole.note_all(plain.values)
        self._any, self._truths = True, None
        if key not in self._seen:
            self._seen[key] = _Seen(0, first + row, block.tolist()[row].strip(), set())
        self._seen[key].count += count
        return True

    def finding(self) -> Finding:
        """Return the finding over all that was added."""
        found = self._finding()
        if not self._missing:
            return found
        number = None if found.number is None else with_gaps(found.number, self._missing)
        return replace(found, reading=with_gaps(found.reading, self._missing), number=number)

    def _finding(self) -> Finding:
        if not self._any:
            return Finding(NUMBER, number=NUMBER)
        codes = self._codes.count if self._codes else 0
        if self._truths and not codes and not self._odd:
            return Finding(_booleans(self._truths))
        fits: Counter[Format] = Counter()
        distinct: dict[Format, set[str]] = {}
        for key, seen in self._seen.items():
            for style in key:
                fits[style] += seen.count
                distinct[style] = distinct.get(style, set()) | seen.distinct
        for style in [style for style in fits if _has_word(style) and len(distinct[style]) < _UNITS]:
            del fits[style]  # as in 1Story, 2Story
        if not fits:
            return Finding(TEXT)
        number = _best(fits, (f for f in fits if isinstance(f, NumberFormat)))
        date = _best(fits, (f for f in fits if isinstance(f, str)))
        as_number = None if number is None else number_reading(self._preferred(fits, number), lenient=True)
        best = max((f for f in (number, date) if f is not None), key=lambda f: fits[f])
        unknown = sum(seen.count for text, seen in self._odd.items() if not _is_gap(text, best))
        total = sum(seen.count for seen in self._seen.values()) + codes + unknown
        if fits[best] == total:
            return self._with_losses(self._settled(fits, total, as_number), total)
        if codes and fits[best] + codes == total and isinstance(best, NumberFormat):
            return Finding(TEXT, None, "figures that begin with a zero are codes")
        return self._unsettled(fits, best, total, as_number)

    def _settled(self, fits: Counter[Format], total: int, number: Reading | None) -> Finding:
        """Return the finding if formats are left that all cells follow."""
        left = [style for style, count in fits.items() if count == total]
        styles = [style for style in left if isinstance(style, NumberFormat)]
        if not styles:
            return self._date([style for style in left if isinstance(style, str)])
        reading = number_reading(self._preferred(fits, styles[0]))
        grouped = [f for f in styles if f.group == ","]
        comma = [f for f in styles if f.decimal == ","]
        if any(f.decimal == "." and not f.group for f in styles) or not (grouped and comma):
            pointed = self._pointed(styles)
            if pointed is not None and self._whole.suggest_groups:
                return Finding(TEXT, pointed, number=number)
            return Finding(reading, number=number, beside_commas=pointed)
        if self._delimiter == ";" and not self._whole.suggest_groups:
            return Finding(reading, number=number)
        seen = next(s for key, s in self._seen.items() if any(f in key for f in grouped) and "," in s.cell)
        formats = str(grouped[0]), str(comma[0])
        what = "may have a comma between its thousands or before its decimals, as "
        if self._delimiter == ",":  # where decimals have points, as nearly always
            doubt = Doubt(seen.row, seen.cell, f"{what}another column has decimal commas", formats)
            return Finding(reading, number=number, beside_commas=doubt)
        return Finding(TEXT, Doubt(seen.row, seen.cell, f"{what}may all others like it", formats), number=number)

    def _with_losses(self, found: Finding, total: int) -> Finding:
        """Return the finding about numbers some of which have another sign than a minus before them."""
        if not self._losses or found.reading.kind != "number":
            return found
        if self._losses == total:  # nothing tells them from numbers of notes
            return Finding(TEXT, None, "all numbers are in parentheses, or have a minus behind them", found.number)
        note = f"{self._losses:,} numbers in parentheses, or with a minus behind them, are negative"
        return replace(found, note=note)

    def _pointed(self, styles: list[NumberFormat]) -> Doubt | None:
        """Return the doubt about points that may divide thousands; None where they cannot, or there are none."""
        grouped = [f for f in styles if f.decimal == "," and f.group == "."]
        plain = [f for f in styles if f.decimal == "." and not f.group]
        seen = next((s for s in self._seen.values() if _POINTED.search(s.cell)), None)
        if not grouped or not plain or seen is None:
            return None
        whole = self._whole.suggest_groups
        other = "whole numbers up to 999 stand beside it" if whole else "another column has decimal commas"
        what = f"may have a point between its thousands, as {other}, or before its decimals"
        return Doubt(seen.row, seen.cell, what, (str(grouped[0]), str(plain[0])))

    def _date(self, left: list[str]) -> Finding:
        """Return the finding if all cells are dates; patterns that differ in meaning are a doubt."""
        ordered = sorted(left, key=lambda pattern: (pattern != ISO, "%z" in pattern))
        swapped = [p for p in ordered if any(p.replace(a, b) in left for a, b in _SWAPPED.items() if a in p)]
        two_digits = [p for p in ordered if "%y" in p]
        clocks = sum(map(is_clock, ordered))
        several = bool(swapped) or len(two_digits) > 1
        if not several and clocks in (0, len(ordered)):
            return Finding(date_reading(ordered[0]))
        seen = next(iter(self._seen.values()))
        choices = tuple(dict.fromkeys(ordered))
        what = "a day or a time of day" if clocks else "more than one day"
        return Finding(TEXT, Doubt(seen.row, seen.cell, f"may be {what}, as may all others like it", choices))

    def _unsettled(self, fits: Counter[Format], best: Format, total: int, number: Reading | None) -> Finding:
        """Return the finding if no format fits all cells."""
        style = self._preferred(fits, best) if isinstance(best, NumberFormat) else best
        others = [seen for key, seen in self._seen.items() if best not in key]
        others += [seen for text, seen in self._odd.items() if not _is_gap(text, best)]
        others += [self._codes] if self._codes else []
        wrong = min(others, key=lambda seen: seen.row)
        what = "number" if isinstance(best, NumberFormat) else "date"
        if fits[best] >= MOSTLY * total:
            told = "" if style == PLAIN else f" of the format {style}"
            plain = f"is not a {what}{told}, but nearly all others are"
            return Finding(TEXT, Doubt(wrong.row, wrong.cell, plain, numeric=what == "number"), number=number)
        alike = sum(seen.count for key, seen in self._seen.items() if any(_is_like(f, best) for f in key))
        if alike >= MOSTLY * total:
            other = min((s for k, s in self._seen.items() if best in k and len(k) < len(_WHOLE)), default=None,
                        key=lambda seen: seen.row)  # fmt: skip
            wrong = min((s for k, s in self._seen.items() if best not in k and k), key=lambda seen: seen.row)
            against = f" as {other.cell[:40]!r} in record {other.row + 1:,} is" if other else ""
            plain = f"is not a {what} of the same format{against}: the two contradict each other"
            return Finding(TEXT, Doubt(wrong.row, wrong.cell, plain, numeric=what == "number"), number=number)
        if fits[best] < _HALF * total:
            return Finding(TEXT, number=number)
        return Finding(TEXT, None, f"{fits[best] / total:.0%} of the cells are {what}s ({style})", number)

    def _preferred(self, fits: Counter[Format], best: Format) -> NumberFormat:
        """Return the format that is meant, of those with the same unit that fit as many cells."""
        assert isinstance(best, NumberFormat)
        same = [f for f in fits if isinstance(f, NumberFormat) and fits[f] == fits[best]
                and (f.before, f.after) == (best.before, best.after)]  # fmt: skip
        plain = [f for f in same if f.decimal == "." and not f.group]
        comma = [f for f in same if f.decimal == ","]
        if not plain and comma and self._delimiter == ";":  # chosen where the comma is the decimal point
            return min(comma, key=_order)
        return min(plain or same, key=_order)


_DATE_GAPS = frozenset(date_reading(ISO).gaps)
_ORDER = {(f.decimal, f.group): k for k, f in enumerate(_WHOLE) if isinstance(f, NumberFormat)}


def _booleans(spelled: Collection[str]) -> Reading:
    """Return the reading of truth values, which keeps how they are capitalised where that is one way."""
    ways = [way for way in (str.lower, str.title, str.upper) if all(text == way(text) for text in spelled)]
    return replace(BOOLEAN, format=ways[0](BOOLEAN.format)) if ways else BOOLEAN


@lru_cache(maxsize=65_536)
def _formats_of(text: str) -> Key:
    return (*number_formats_of(text), *patterns_of(text))


def _order(style: NumberFormat) -> int:
    return _ORDER[style.decimal, style.group]


def _best(fits: Counter[Format], styles: Iterable[Format]) -> Format | None:
    return max(styles, key=lambda style: fits[style], default=None)


def _is_gap(text: str, style: Format) -> bool:
    return (NUMBER if isinstance(style, NumberFormat) else date_reading(ISO)).is_gap(text)


def _has_word(style: Format) -> bool:
    """Return whether a word is behind the figures, which may be a unit."""
    return isinstance(style, NumberFormat) and style.after[:1].isalpha()


def _is_like(style: Format, best: Format) -> bool:
    """Return whether both are dates, or numbers with the same unit."""
    if isinstance(style, str) or isinstance(best, str):
        return isinstance(style, str) and isinstance(best, str)
    return (style.before, style.after) == (best.before, best.after)
