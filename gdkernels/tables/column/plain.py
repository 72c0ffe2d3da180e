"""Cells that are plain numbers, as nearly all are: found and turned into numbers quickly."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gdkernels.tables.cells.cells import CellBlock
from gdkernels.tables.cells.numbers import plain_number
from gdkernels.tables.column.column_data import Floats
from gdkernels.tables.column.decimals import decimals
from gdkernels.tables.column.reading import NUMBER

__all__ = ["PlainNumbers", "plain_numbers"]

_PADDED_CODE = re.compile(r"(?:^|\0)\s*[-+]?0[0-9]")
_GAPS = frozenset(v for gap in NUMBER.gaps for v in (gap, gap.upper(), gap.title(), "NaN", "NaT", "\\N"))


@dataclass(frozen=True)
class PlainNumbers:
    """Cells as plain numbers.

    Attributes
    ----------
    values
        NaN for the usual gaps.
    gaps
        The spellings of these.
    """

    values: Floats
    gaps: frozenset[str]


def plain_numbers(block: CellBlock) -> PlainNumbers | None:
    """Return cells as plain numbers; None where one is neither a number nor a usual gap, or a code."""
    text = block.text
    if "_" in text or not text.isascii():  # float() takes 1_000, and other scripts' digits
        return None
    if any(plain_number(cell) is None and cell.strip() not in _GAPS for cell in block.first(3)):
        return None  # as nearly all text shows
    padded = " " in text or "\t" in text
    if padded and _PADDED_CODE.search(text):
        return None
    found = decimals(text)
    if found.padded:
        return None
    others = found.others[found.starts[found.others] < found.ends[found.others]]
    if 2 * len(others) > len(block):
        cells = block.tolist()
        values = _numbers(cells, padded=padded)
        return None if values is None else PlainNumbers(values, _gaps(cells, values))
    bounds = zip(found.starts[others].tolist(), found.ends[others].tolist(), strict=True)
    cells = [text[start:end] for start, end in bounds]
    if (values := _numbers(cells, padded=padded)) is None:
        return None
    found.values[others] = values
    blank = {""} if len(others) < len(found.others) else set()
    return PlainNumbers(found.values, _gaps(cells, values) | blank)


def _numbers(cells: Sequence[str], *, padded: bool) -> Floats | None:
    """Return cells as float() reads them, NaN for the usual gaps; None where one is neither."""
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


def _gaps(cells: Sequence[str], values: Floats) -> frozenset[str]:
    return frozenset(cells[k] for k in np.flatnonzero(np.isnan(values)).tolist())
