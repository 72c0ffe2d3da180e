"""Dates and times as people write them: which patterns a cell follows, and its parts.

Patterns are those of `time.strftime`, read in English wherever the program runs. A month's name may be whole or
shortened, figures may lack a leading zero.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from functools import cache, lru_cache
from itertools import product

__all__ = ["BARE", "ISO", "is_pattern", "moment_of", "patterns_of"]

ISO = "ISO 8601"
BARE = "%Y%m%d"  # without separators: as likely a number or a code, so that all of a column has to look like it

_DAYS = (
    *("%d.%m.%Y", "%d.%m.%y", "%Y.%m.%d", "%Y-%m-%d"),
    *("%m/%d/%Y", "%d/%m/%Y", "%Y/%m/%d", "%m/%d/%y", "%d/%m/%y", "%y/%m/%d"),
    *("%d-%m-%Y", "%m-%d-%Y", "%d-%m-%y", "%m-%d-%y", "%y-%m-%d"),
    *("%d %b %Y", "%d. %b %Y", "%d-%b-%Y", "%d-%b-%y", "%d/%b/%Y", "%d %b %y"),
    *("%b %d, %Y", "%b %d %Y", "%b-%d-%Y", "%Y %b %d", "%Y-%b-%d", "%a, %d %b %Y", "%a %b %d %Y"),
    *("%b %Y", "%b-%y", "%b-%Y", "%Y-%m", "%m/%Y"),
)
_TIMES = ("%H:%M", "%H:%M:%S", "%H:%M:%S.%f", "%I:%M %p", "%I:%M:%S %p", "%I %p")
_ZONES = ("", "%z", " %z")
_AFTER_DAY = tuple(map("".join, product((" ", ", ", "T"), _TIMES, _ZONES)))
_CLOCKS = (*_TIMES, "%H.%M.%S")  # a time alone; 18.00 is a number

_MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def _named(names: tuple[str, ...]) -> str:
    return "|".join(f"{name[:3]}(?:{name[3:]})?" if name[3:] else name for name in names)


_MONTH = f"sept|{_named(_MONTHS)}"
_FIGURES = {
    "Y": r"(?P<Y>\d{4})",
    "y": r"(?P<y>\d{2})",
    "m": r"(?P<m>\d{1,2})",
    "d": r"(?P<d>\d{1,2})",
    "H": r"(?P<H>\d{1,2})",
    "I": r"(?P<I>\d{1,2})",
    "M": r"(?P<M>\d{2})",
    "S": r"(?P<S>\d{2})",
    "f": r"(?P<f>\d{1,9})",
    "b": rf"(?P<b>{_MONTH})\.?",
    "B": rf"(?P<b>{_MONTH})\.?",
    "a": f"(?:{_named(_WEEKDAYS)})",
    "A": f"(?:{_named(_WEEKDAYS)})",
    "p": r"(?P<p>[ap])\.?m\.?",
    "z": r"(?P<z>z|utc|gmt|[-+]\d{2}:?\d{2})",
}
_NINES = str.maketrans("12345678", "99999999")
_LONGEST = 40  # characters: no date is longer
# A cheap test that most other text fails at its first character.
_LIKELY = re.compile(
    rf"(?:[\d\s./:,+-]|{_MONTH}|{_named(_WEEKDAYS)}|[ap]\.?m\.?|utc|gmt|[tz])+", re.IGNORECASE | re.ASCII
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


def patterns_of(cell: str) -> tuple[str, ...]:
    """Return the patterns that a cell follows as a day that there is; none for bare figures, which are numbers."""
    if not 4 <= len(cell) <= _LONGEST or cell.isdigit() or not _LIKELY.fullmatch(cell):
        return ()
    iso = () if _of_iso(cell) is None else (ISO,)
    shaped = _shaped(cell.translate(_NINES).replace("0", "9").lower())
    return (*iso, *(pattern for pattern in shaped if moment_of(cell, pattern) is not None))


def moment_of(cell: str, pattern: str) -> datetime | None:
    """Return the moment that a cell spells, in UTC where it says nothing else; None where it does not follow `pattern`.

    A time alone is one of the first of January 1970.
    """
    if pattern == ISO:
        moment = _of_iso(cell)
    elif pattern == BARE and len(cell) != 8:
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
    return re.compile("".join(a + b for a, b in zip(literal, figures, strict=True)), re.IGNORECASE | re.ASCII)


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
        month = 1 + next(k for k, known in enumerate(_MONTHS) if known.startswith(name.lower()[:3]))
    hour = int(found.get("H") or 0)
    if (figures := found.get("I")) is not None:
        if not 1 <= int(figures) <= 12:
            return None
        hour = int(figures) % 12 + (12 if (found.get("p") or "a").lower() == "p" else 0)
    fraction = int((found.get("f") or "0").ljust(6, "0")[:6])
    try:
        moment = datetime(year, month, day, hour, int(found.get("M") or 0), int(found.get("S") or 0), fraction)
    except ValueError:
        return None
    return moment if (zone := found.get("z")) is None else moment.replace(tzinfo=_zone(zone))


def _zone(text: str) -> timezone:
    if text[0] not in "+-":
        return UTC
    offset = timedelta(hours=int(text[1:3]), minutes=int(text[-2:]))
    return timezone(offset if text[0] == "+" else -offset)
