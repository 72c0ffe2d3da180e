"""Figures and signs of other scripts as those of a keyboard: what people write in place of these."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["in_ascii"]

# Of all scripts that have decimal figures of their own (of those beyond 16 bits, mathematical ones are variants).
_ZEROS = (
    "\u0660\u06f0\u07c0\u0966\u09e6\u0a66\u0ae6\u0b66\u0be6\u0c66\u0ce6\u0d66\u0de6\u0e50\u0ed0\u0f20\u1040\u1090\u17e0\u1810"
    "\uff10"
)
_SIGNS = {
    **dict.fromkeys("\u00a0\u2007\u2009\u202f\u3000", " "),
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2212\uff0d", "-"),
    **dict.fromkeys("\u200b\u200e\u200f\u2060\ufeff", ""),  # which nobody sees
    "\u2019": "'",
    "\uff0b": "+",
    "\uff0e": ".",
    "\uff0c": ",",
    "\uff0f": "/",
    "\uff1a": ":",
    "\uff05": "%",
    "\u00b5": "\u03bc",  # micro, which is one letter with two numbers
    "\u066b": ".",
    "\u066c": ",",  # between decimals and thousands, in Arabic
}
_SPELLED = _SIGNS | {chr(ord(zero) + k): str(k) for zero in _ZEROS for k in range(10)}
_TABLE = str.maketrans(_SPELLED)
_ACCENTS = "\u0300-\u036f"  # that stand behind their letter
_OTHER = re.compile(f"[{''.join(map(re.escape, _SPELLED))}{_ACCENTS}]")


def in_ascii(cell: str) -> str:
    """Return a cell with the figures and signs of numbers and dates in ASCII; letters stay, each with its accent."""
    if cell.isascii() or _OTHER.search(cell) is None:
        return cell
    return unicodedata.normalize("NFC", cell).translate(_TABLE)
