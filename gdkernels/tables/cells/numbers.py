"""Numbers as people write them: which formats a cell follows, and its value.

A format is a value that is written as an example: ``1234.5`` is plain, ``1.234,5 €`` has a decimal comma, points
between its thousands and a currency behind it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, lru_cache

from gdkernels.tables.cells.scripts import in_ascii

__all__ = ["PLAIN", "NumberFormat", "is_code", "is_loss", "number_formats_of", "plain_number"]

# What divides decimals, and thousands: the likeliest first, as cells often follow several.
_STYLES = ((".", ""), (".", ","), (".", " "), (".", "'"), (",", ""), (",", "."), (",", " "), (",", "'"))

_CURRENCY = r"[$€£¥₹₽₩₺₪]|(?:US|A|C|R|NZ|HK|S)\$|CHF|EUR|USD|GBP|JPY|INR|AUD|CAD|SEK|NOK|DKK|PLN|Rs\.?|kr\.?|zł|Fr\.?"
# To Python, ² and ½ are letters of words; no unit begins with them, as in 5² or 5½.
_NO_LETTER = r"\W\d_\u00b2\u00b3\u00b9\u00bc-\u00be\u2070-\u209c\u2150-\u218b\u2460-\u24ff"
_UNIT = (
    rf"%|‰|{_CURRENCY}|[^{_NO_LETTER}][^{_NO_LETTER}./·]{{0,11}}(?:[./][^{_NO_LETTER}]{{1,6}}[²³]?|[²³])?"
    rf"|[°º′″][^{_NO_LETTER}]?|[\u2103\u2109\u3380-\u33df]"
)
_CELL = re.compile(
    rf"(?P<sign>[-+]?)(?:(?P<before>{_CURRENCY})\s*)?(?P<inner>[-+]?)"
    rf"(?P<body>[0-9][0-9., ']*?|[.,][0-9]+)(?P<exponent>[eE][-+]?[0-9]+)?\s*(?P<after>{_UNIT})?"
)
# Accountants put a loss into parentheses, and some systems put the minus behind the figures.
_LOSS = re.compile(rf"(?P<before>{_CURRENCY})?\s*\((?P<inner>[^()+-]*)\)|(?P<figures>[^()+-]*[0-9])\s?-")
# A price without a fraction has a dash in its place: 5,- or 5.-- or 5:-
_DASH = re.compile(r"(?:(?<=[0-9][.,])(?:--?|\u2014)|(?<=[0-9]):-)(?=\s|$)")
_POWER = re.compile(r"(?<=[0-9\s])([cdkm]?m|ft|in)\^?([23])$")  # 5 m2, 5 m^2
_RAISED = {"2": "\u00b2", "3": "\u00b3"}
_ENDS_OF_LOSS = ")-\u2010\u2011\u2012\u2013\u2212"
_CODE = re.compile(r"[-+]?0[0-9]+(?:[.,][0-9]*)?")
_PHONE = re.compile(r"\+[0-9]{7,}")
_NINES = str.maketrans("12345678", "99999999")
_EXAMPLE = re.compile(r"(?P<before>\D*?)(?P<sign>)1(?P<group>[., ']?)234(?P<decimal>[.,])5(?P<after>\D*)")


@dataclass(frozen=True)
class NumberFormat:
    """A way to write numbers.

    Attributes
    ----------
    decimal, group
        The signs before the decimals, and between thousands; "" is none.
    before, after
        The currency or the unit that each has.
    """

    decimal: str = "."
    group: str = ""
    before: str = ""
    after: str = ""

    def __str__(self) -> str:
        space = " " if self.after[:1].isalpha() or self.after in ("€", "zł") else ""
        return f"{self.before}1{self.group}234{self.decimal}5{space}{self.after}"

    @classmethod
    def of(cls, example: str) -> NumberFormat:
        """Return the format of an example such as ``1.234,5 €``.

        Raises
        ------
        ValueError
            If it is none: any number but one with the figures 1234.5.
        """
        found = _EXAMPLE.fullmatch(_with_power(in_ascii(example)))
        if found is None or found["group"] == found["decimal"]:
            raise ValueError(f"{example!r} is no example of a number")
        return cls(found["decimal"], found["group"], found["before"].strip(), found["after"].strip())

    def value(self, cell: str) -> float | None:
        """Return the number that a cell without spaces around it spells in this format; None where it does not."""
        text = _usual(in_ascii(cell))
        found = _layout(_shape(text))
        if found is None:
            return plain_number(cell) if self == PLAIN else None
        if (found.before, found.after) != (self.before, self.after) or found.two_signs:
            return None
        if not _fits(found.body, self.decimal, self.group, exponent=found.has_exponent):
            return None
        body = text[found.start : found.start + len(found.body)]
        if self.group:
            body = body.replace(self.group, "")
        number = float(body.replace(self.decimal, ".") + text[found.exponent])
        return -number if found.negative else number


PLAIN = NumberFormat()


def plain_number(text: str) -> float | None:
    """Return the number that `text` spells with a decimal point and nothing around it, which may be infinite."""
    if "_" in text or not text.isascii():  # float() takes 1_000, and digits of other scripts
        return None
    try:
        return float(text)
    except ValueError:
        return None


def is_code(cell: str) -> bool:
    """Return whether a cell has figures that are a code, not a quantity: they begin with a zero, or are a phone's."""
    return cell[:1] in "+-0" and bool((_CODE.fullmatch(cell) and not cell.startswith("0.")) or _PHONE.fullmatch(cell))


def is_loss(cell: str) -> bool:
    """Return whether a cell that is a number is negative without a minus before it: ``(5)`` or ``5-``, not ``5,-``."""
    return cell[-1] in _ENDS_OF_LOSS and not _DASH.search(in_ascii(cell))


def _usual(text: str) -> str:
    """Return a number of `is_loss` with its minus in front, a price without its dash, and square metres as m²."""
    if not text:
        return text
    if "-" in text or "\u2014" in text:
        text = _DASH.sub("", text)
    elif text[-1] in _RAISED and not text[-2:-1].isdigit():
        text = _with_power(text)
    if not is_loss(text) or (found := _LOSS.fullmatch(text)) is None:
        return text
    return f"-{found['before'] or ''}{(found['inner'] or found['figures'] or '').strip()}"


def _with_power(text: str) -> str:
    return _POWER.sub(lambda found: found[1] + _RAISED[found[2]], text)


def number_formats_of(cell: str) -> tuple[NumberFormat, ...]:
    """Return the formats that a cell without spaces around it follows, the likeliest first."""
    text = _usual(in_ascii(cell))
    if _CELL.fullmatch(text) is None:  # as most text shows at its first character
        return (PLAIN,) if plain_number(cell) is not None else ()  # infinity
    found = _layout(_shape(text))
    if found is None or is_code(text) or found.two_signs:
        return ()
    return _formats(found.body, found.before, found.after, found.has_exponent)


def _shape(text: str) -> str:
    """Return text with its figures as nines, but for zeros, which cannot begin a group of thousands."""
    return text.translate(_NINES)


@dataclass(frozen=True)
class _Layout:
    """The places of a number's parts, which its shape tells: thousands of cells have the same.

    Attributes
    ----------
    start, body
        The place where the figures begin, and their shape.
    exponent
        Its place, as a slice that is empty for none.
    """

    before: str
    after: str
    negative: bool
    two_signs: bool
    start: int
    body: str
    exponent: slice

    @property
    def has_exponent(self) -> bool:
        return bool(self.exponent.stop)


@lru_cache(maxsize=65_536)
def _layout(shape: str) -> _Layout | None:
    """Return the layout of a number of this shape; None where it is none."""
    found = _CELL.fullmatch(shape)
    if found is None:
        return None
    signs = found["sign"], found["inner"]
    return _Layout(
        found["before"] or "",
        found["after"] or "",
        "-" in signs,
        all(signs),
        found.start("body"),
        found["body"].rstrip(),
        slice(*found.span("exponent")) if found["exponent"] else slice(0),
    )


@lru_cache(maxsize=65_536)
def _formats(shape: str, before: str, after: str, exponent: bool) -> tuple[NumberFormat, ...]:
    return tuple(NumberFormat(d, g, before, after) for d, g in _STYLES if _fits(shape, d, g, exponent=exponent))


@lru_cache(maxsize=65_536)
def _fits(shape: str, decimal: str, group: str, *, exponent: bool) -> bool:
    grouped, plain = _patterns(decimal, group)
    return bool(plain.fullmatch(shape) or (grouped is not None and not exponent and grouped.fullmatch(shape)))


@cache
def _patterns(decimal: str, group: str) -> tuple[re.Pattern[str] | None, re.Pattern[str]]:
    d, g = re.escape(decimal), re.escape(group)
    plain = re.compile(rf"\d+(?:{d}\d*)?|{d}\d+")
    if not group:
        return None, plain
    indian = rf"|9\d?(?:{g}\d\d)+{g}\d{{3}}" if group == "," else ""
    return re.compile(rf"(?:9\d{{0,2}}(?:{g}\d{{3}})+{indian})(?:{d}\d*)?"), plain
