"""Cells that are plain numbers, as nearly all are: found and turned into numbers quickly."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from gdkernels.tables.numbers import plain_number
from gdkernels.tables.reading import NUMBER
from gdkernels.tables.table import Floats

__all__ = ["plain_values"]

_PADDED_CODE = re.compile(r"(?:^|\0)\s*[-+]?0[0-9]")
_GAPS = frozenset(v for gap in NUMBER.gaps for v in (gap, gap.upper(), gap.title(), "NaN", "NaT", "\\N"))


def _begins_with_zeros(joined: str) -> bool:
    """Return whether a cell of ASCII begins with a zero before another figure, after a minus or none."""
    bytes_ = np.frombuffer(f"\0{joined}\0\0".encode("ascii"), np.uint8)
    zeros = np.flatnonzero((bytes_[1:-1] == ord("0")) & (bytes_[2:] - np.uint8(ord("0")) < 10)) + 1  # by their place
    before = bytes_[zeros - 1]
    signed = zeros[before == ord("-")]
    return bool((before == 0).any() or (bytes_[signed - 2] == 0).any())


def plain_values(joined: str, cells: Sequence[str]) -> Floats | None:
    """Return cells as plain numbers, NaN for the usual gaps; None where one is neither, or a code.

    Parameters
    ----------
    joined
        The cells with NUL between them.
    """
    if "_" in joined or not joined.isascii():  # float() takes 1_000, and other scripts' digits
        return None
    if any(plain_number(cell) is None and cell.strip() not in _GAPS for cell in cells[:3]):
        return None  # as nearly all text shows
    if _begins_with_zeros(joined):
        return None
    padded = " " in joined or "\t" in joined
    if ("+" in joined or padded) and _PADDED_CODE.search(joined):
        return None
    for attempt in range(3):
        try:
            if attempt == 0:
                return np.fromiter(map(float, cells), np.float64, len(cells))
            if attempt == 2:
                if not padded:
                    break
                cells = [c.strip() for c in cells]
            return np.fromiter((np.nan if c in _GAPS else float(c) for c in cells), np.float64, len(cells))
        except ValueError:
            pass
    return None
