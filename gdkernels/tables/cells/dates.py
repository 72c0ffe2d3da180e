"""Dates and times as people write them: which patterns a cell follows, and its parts.

Patterns are those of `time.strftime`, read alike wherever the program runs. A month's name may be whole or shortened,
and is known in several languages; figures may lack a leading zero, and be those of other scripts.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from functools import cache, lru_cache
from itertools import product

from gdkernels.tables.cells.calendar_names import MONTHS, WEEKDAYS
from gdkernels.tables.cells.scripts import in_ascii

__all__ = ["BARE", "ISO", "is_clock", "is_pattern", "moment_of", "patterns_of"]

ISO = "ISO 8601"
# Without separators, by their figures: as likely numbers or codes, so that all of a column has to look like it.
BARE = {8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
_FIGURES_OF_BARE = {pattern: figures for figures, pattern in BARE.items()}

_DAYS = (
    *("%d.%m.%Y", "%d.%m.%y", "%Y.%m.%d", "%Y-%m-%d", "%d. %m. %Y", "%Y. %m. %d.", "%Y. %m. %d"),
    *("%Y年%m月%d日", "%Y年%m月", "%Y년 %m월 %d일", "%Y년 %m월"),
    *("%m/%d/%Y", "%d/%m/%Y", "%Y/%m/%d", "%m/%d/%y", "%d/%m/%y", "%y/%m/%d"),
    *("%d-%m-%Y", "%m-%d-%Y", "%d-%m-%y", "%m-%d-%y", "%y-%m-%d"),
    *("%d %b %Y", "%d. %b %Y", "%d-%b-%Y", "%d-%b-%y", "%d/%b/%Y", "%d %b %y"),
    *("%b %d, %Y", "%b %d %Y", "%b-%d-%Y", "%Y %b %d", "%Y-%b-%d", "%a, %d %b %Y", "%a %b %d %Y"),
    *("%a, %b %d, %Y", "%a %d %b %Y", "%a, %d. %b %Y", "%a %d. %b %Y", "%a, %d.%m.%Y", "%a %d.%m.%Y", "%a %Y-%m-%d"),
    *("%a %m/%d/%Y", "%a %d/%m/%Y", "%d de %b de %Y", "%d de %b %Y", "%a, %d de %b de %Y", "%d of %b %Y"),
    *("%a %b %d %H:%M:%S %Y", "%a %b %d %H:%M:%S %z %Y", "%d/%b/%Y:%H:%M:%S %z", "%d/%b/%Y:%H:%M:%S"),
    *("%b %Y", "%b-%y", "%b-%Y", "%Y-%m", "%m/%Y"),
)
_TIMES = ("%H:%M", "%H:%M:%S", "%H:%M:%S.%f", "%I:%M %p", "%I:%M:%S %p", "%I %p")
_TIMES_OF_DAYS = (*_TIMES, "%Hh%M", "%H:%M Uhr", "%H:%M:%S Uhr")  # by itself, 12h30 may be a duration
_ZONES = ("", "%z", " %z")
_AFTER_DAY = tuple(map("".join, product((" ", ", ", "T"), _TIMES_OF_DAYS, _ZONES)))
_CLOCKS = (*_TIMES, "%H.%M.%S")  # a time alone; 18.00 is a number

_MONTH, _WEEKDAY = ("|".join(sorted(names, key=len, reverse=True)) for names in (MONTHS, WEEKDAYS))
_ORDINAL = "st|nd|rd|th|er"
_FIGURES = {
    "Y": r"(?P<Y>[0-9]{4})",
    "y": r"(?P<y>[0-9]{2})",
    "m": r"(?P<m>[0-9]{1,2})",
    "d": rf"(?P<d>[0-9]{{1,2}})(?:{_ORDINAL})?",
    "H": r"(?P<H>[0-9]{1,2})",
    "I": r"(?P<I>[0-9]{1,2})",
    "M": r"(?P<M>[0-9]{2})",
    "S": r"(?P<S>[0-9]{2})",
    "f": r"(?P<f>[0-9]{1,9})",
    "b": rf"(?P<b>{_MONTH})\.?",
    "B": rf"(?P<b>{_MONTH})\.?",
    "a": rf"(?:{_WEEKDAY})\.?",
    "A": rf"(?:{_WEEKDAY})\.?",
    "p": r"(?P<p>[ap])\.?m\.?",
    "z": r"(?P<z>z|utc|gmt|[-+][0-9]{2}:?[0-9]{2})",
}
_NINES = str.maketrans("12345678", "99999999")
_MIDNIGHT = re.compile(r"(?<=[0-9][T ])24(?=:?00(?::?00(?:[.,]0+)?)?(?:[Zz+-]|$))")  # that ends a day
_ENDS_DAY = (24, 0, 0, 0)
_LONGEST = 40  # characters: no date is longer
# A cheap test that most other text fails: it has other signs, or another word.
_SIGNS, _WORD = re.compile(r"[\w\s./:,+-]+"), re.compile(r"[^\W\d_]+")
_WORDS = frozenset(
    word
    for words in (*MONTHS, *WEEKDAYS, _ORDINAL, "a p m am pm h t z utc gmt uhr de of 年 月 日 년 월 일")
    for word in _WORD.findall(words)
)


def is_pattern(text: str) -> bool:
    """Return whether `text` is a pattern that can be read: directives that are known, a day or a time, none twice."""
    if text == ISO:
        return True
    found = re.findall("%(.?)", text)
    fields = ["b" if f == "B" else "y" if f == "Y" else f for f in found]
    whole = {"y"} <= set(fields) and ({"m"} & set(fields) or {"b"} & set(fields))
    clock = not {"y", "m", "d", "b"} & set(fields) and bool({"H", "I"} & set(fields))
    return set(found) <= set(_FIGURES) and len(set(fields)) == len(fields) and bool(whole or clock)


def is_clock(pattern: str) -> bool:
    """Return whether a pattern is of a time alone, without a day."""
    return pattern != ISO and not set(re.findall("%(.)", pattern)) & set("YymdbB")


def patterns_of(cell: str) -> tuple[str, ...]:
    """Return the patterns that a cell follows as a day that there is; none for bare figures, which are numbers."""
    if not 4 <= len(cell) <= _LONGEST:
        return ()
    cell = in_ascii(cell)
    if cell.isdigit() or not _SIGNS.fullmatch(cell) or not _WORDS.issuperset(_WORD.findall(cell.lower())):
        return ()
    iso = () if _of_iso(cell) is None else (ISO,)
    shaped = _shaped(cell.translate(_NINES).replace("0", "9").lower())
    return (*iso, *(pattern for pattern in shaped if moment_of(cell, pattern) is not None))


def moment_of(cell: str, pattern: str) -> datetime | None:
    """Return the moment that a cell spells, in UTC where it says nothing else; None where it does not follow `pattern`.

    A time alone is one of the first of January 1970.
    """
    cell = in_ascii(cell)
    if pattern in _FIGURES_OF_BARE:
        cell = cell.removesuffix(".0")  # as where gaps made floats of whole numbers
    if pattern == ISO:
        moment = _of_iso(cell)
    elif (figures := _FIGURES_OF_BARE.get(pattern)) is not None and len(cell) != figures:
        return None
    else:
        found = _compiled(pattern).fullmatch(cell)
        moment = None if found is None else _moment(found.groupdict())
    return None if moment is None else moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _of_iso(cell: str) -> datetime | None:
    if len(cell) < 8 or not cell[:4].isdigit() or cell.isdigit():  # bare figures are numbers or codes
        return None
    try:
        return datetime.fromisoformat(cell)
    except ValueError:
        pass
    begin, ends = _MIDNIGHT.subn("00", cell)
    try:
        return datetime.fromisoformat(begin) + timedelta(days=1) if ends else None
    except (ValueError, OverflowError):
        return None


@lru_cache(maxsize=4096)
def _shaped(shape: str) -> tuple[str, ...]:
    """Return the patterns that a cell may follow, going by where its figures stand."""
    found = [clock for clock in _CLOCKS if _compiled(clock).fullmatch(shape)]
    for day in _DAYS:
        if (match := _compiled(day).match(shape)) is not None:
            rest = shape[match.end() :]
            found += [day + after for after in ("", *_AFTER_DAY) if _compiled(after).fullmatch(rest)]
    return tuple(found)


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = re.split("%(.)", pattern)
    literal = [re.escape(part).replace(r"\ ", r"\s+") for part in parts[::2]]
    figures = [*(_FIGURES[directive] for directive in parts[1::2]), ""]
    return re.compile("".join(a + b for a, b in zip(literal, figures, strict=True)), re.IGNORECASE)


def _moment(found: dict[str, str | None]) -> datetime | None:
    """Return the moment of the figures found; None where there is no such day or hour."""
    year, month, day = 1970, 1, int(found.get("d") or 1)
    if (figures := found.get("Y")) is not None:
        year = int(figures)
    elif (figures := found.get("y")) is not None:
        year = int(figures) + (1900 if int(figures) >= 69 else 2000)  # as POSIX does
    if (figures := found.get("m")) is not None:
        month = int(figures)
    elif (name := found.get("b")) is not None:
        month = MONTHS[name.lower()]
    hour = int(found.get("H") or 0)
    if (figures := found.get("I")) is not None:
        if not 1 <= int(figures) <= 12:
            return None
        hour = int(figures) % 12 + (12 if (found.get("p") or "a").lower() == "p" else 0)
    fraction = int((found.get("f") or "0").ljust(6, "0")[:6])
    clock = hour, int(found.get("M") or 0), int(found.get("S") or 0), fraction
    try:
        if clock == _ENDS_DAY and "d" in found:
            moment = datetime(year, month, day) + timedelta(days=1)
        else:
            moment = datetime(year, month, day, *clock)
    except (ValueError, OverflowError):
        return None
    return moment if (zone := found.get("z")) is None else moment.replace(tzinfo=_zone(zone))


def _zone(text: str) -> timezone:
    if text[0] not in "+-":
        return UTC
    offset = timedelta(hours=int(text[1:3]), minutes=int(text[-2:]))
    return timezone(offset if text[0] == "+" else -offset)
