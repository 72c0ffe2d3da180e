"""Numbers as people write them: with gaps, groups of thousands, a decimal comma, a currency or a per cent sign."""

import re
from collections.abc import Iterator, Sequence

import numpy as np

from gdkernels.tables.table import MISSING, Floats

__all__ = ["numbers_in"]

# Figures that begin with a zero are a code, not a quantity: the zero would be lost.
_CODE = re.compile(r"^\s*[-+]?0[0-9]", re.MULTILINE)
_SIGNS = "$€£¥%"

_COMMA_GROUPS = re.compile(r"[-+]?[1-9][0-9]{0,2}(,[0-9]{3})+(\.[0-9]*)?")
_POINT_GROUPS = re.compile(r"[-+]?[0-9]{1,3}(\.[0-9]{3})*,[0-9]+")


def numbers_in(cells: Sequence[str], delimiter: str) -> Floats | None:
    """Return what `cells` spell, NaN for gaps, or None where one is not a number in the way that the others are."""
    cells = _without_sign(cells)
    joined = "\n".join(cells)
    if (
        "_" in joined or not joined.isascii() or _CODE.search(joined)
    ):  # float() takes 1_000, and digits of other scripts
        return None
    if " " in joined or "\t" in joined:
        cells = [c.strip() for c in cells]
    for spelled in _spellings(cells, delimiter, commas="," in joined):
        try:
            return np.array([np.nan if c in MISSING else float(c) for c in spelled], np.float64)
        except ValueError:
            pass
    return None


def _spellings(cells: Sequence[str], delimiter: str, *, commas: bool) -> Iterator[Sequence[str]]:
    """Yield the cells as `float` may take them, the likeliest reading first."""
    yield cells
    if not commas:
        return
    if delimiter == ";":  # chosen where the comma is the decimal point
        yield [c.replace(",", ".") for c in cells]
        if all(_POINT_GROUPS.fullmatch(c) for c in cells if c not in MISSING):
            yield [c.replace(".", "").replace(",", ".") for c in cells]
    grouped = [c for c in cells if "," in c]
    # One group alone may as well be decimals, except where commas divide cells: nobody would choose it for a point.
    told = delimiter == "," or any(c.count(",") > 1 or "." in c for c in grouped)
    if told and all(_COMMA_GROUPS.fullmatch(c) for c in grouped):
        yield [c.replace(",", "") for c in cells]


def _without_sign(cells: Sequence[str]) -> Sequence[str]:
    """Return the cells without the sign that each has before or behind its number, if they have one."""
    first = next((c.strip() for c in cells if c.strip() not in MISSING), "")
    sign = next((c for c in (first[:1], first[-1:]) if c and c in _SIGNS), None)
    if sign is None:
        return cells
    stripped = [c.strip() for c in cells]
    if not all(c in MISSING or (len(c) > 1 and c.count(sign) == 1 and sign in (c[0], c[-1])) for c in stripped):
        return cells
    return [c.strip(sign).strip() for c in stripped]
