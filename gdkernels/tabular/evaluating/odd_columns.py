"""Remarks on columns and records that may mean something else: numbers like dates, alike names, a header, sums."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Collection

import numpy as np

from gdkernels.errors import keyword
from gdkernels.tables import Preparation, Table
from gdkernels.tables.cells.cells import Cells
from gdkernels.tables.column.column_data import NumberColumn, Text, numbers_in
from gdkernels.tables.column.counted_dates import like_dates
from gdkernels.tables.features.columns import Category, Number
from gdkernels.tables.table.checked import numbers_of

__all__ = ["alike_names", "counted_dates", "header_within", "sums_below", "versions"]

_UNSEEN = dict.fromkeys((0x00AD, 0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF))  # characters without a width
_VERSION = re.compile(
    r"(?:^|[\s_.\-])(?:version|ver|release|firmware|kernel|build|revision|chapter|section)(?:$|[\s_.\-])", re.IGNORECASE
)
_FEWEST, _CLOSE = 5, 1e-6  # records that a sum is of, and how far it may be off, relatively


def counted_dates(table: Table, preparation: Preparation, named: Collection[str]) -> list[str]:
    """Return which inputs are numbers that may be dates, but for those of which the user said something."""
    told = [kind.name for kind in preparation.columns if isinstance(kind, Number) and kind.name not in named]
    found = {name: like_dates(name, numbers_of(table, name)) for name in told}
    return [f"column {name!r} {dates}" for name, dates in found.items() if dates]


def versions(table: Table, preparation: Preparation, named: Collection[str]) -> list[str]:
    """Return which inputs are numbers under a name of versions, some with more decimals: 1.10 comes after 1.9 then."""
    said = []
    for kind in preparation.columns:
        column = table.columns[kind.name]
        source = column.source if isinstance(column, NumberColumn) else None
        if not isinstance(kind, Number) or kind.name in named or not isinstance(source, Cells):
            continue
        if _VERSION.search(kind.name) is None:
            continue
        decimals = {len(cell.strip().partition(".")[2]): cell.strip() for cell in source.tolist() if "." in cell}
        if len(decimals) > 1:
            short, long_ = decimals[min(decimals)][:40], decimals[max(decimals)][:40]
            said.append(
                f"column {kind.name!r} is read as decimal numbers: if {long_!r} and {short!r} are versions, say "
                f"{keyword('categorical', [kind.name])}"
            )
    return said


def header_within(table: Table) -> list[str]:
    """Return which columns of names hold their own name, as where files were joined with their headers."""
    said = []
    for name, column in table.columns.items():
        if not isinstance(column, Text):
            continue
        place = bisect_left(column.levels, name)
        if column.levels[place : place + 1] == (name,) and (rows := np.flatnonzero(column.codes == place)).size:
            said.append(
                f"record {table.first + int(rows[0]) + 1:,} has {name!r} in the column of that name: if it is a header "
                "in the middle, remove it"
            )
    return said


def sums_below(table: Table) -> list[str]:
    """Return the columns of which the last record is the sum of all others, as where spreadsheets end with a total."""
    found = []
    for name, column in table.columns.items():
        if isinstance(column, Text) or len(column) <= _FEWEST:
            continue
        values = numbers_in(column)
        last, others = float(values[-1]), values[:-1]
        if not last > np.fmax.reduce(np.abs(others)) or np.count_nonzero(others) < _FEWEST:  # NaN is not
            continue
        if abs(float(np.nansum(others)) - last) <= _CLOSE * last:
            found.append(name)
    if not found:
        return []
    return [
        f"the last record holds the sum of all others in {', '.join(map(repr, found[:_FEWEST]))}: if it is a total, "
        "remove it"
    ]


def alike_names(preparation: Preparation) -> list[str]:
    """Return which names differ by capitals alone, as in ``yes`` and ``Yes``, or by what nobody sees."""
    said = []
    for kind in preparation.columns:
        if isinstance(kind, Category):
            known: dict[str, str] = {}
            for level in kind.levels:
                seen = unicodedata.normalize("NFKC", level.translate(_UNSEEN))
                other = known.setdefault(seen.casefold(), level)
                if other != level:
                    same = unicodedata.normalize("NFKC", other.translate(_UNSEEN)) == seen
                    show = ascii if same else repr
                    said.append(
                        f"column {kind.name!r}: {show(other[:40])} and {show(level[:40])} are taken for different names"
                        f"{', though they look alike' if same else ''}; write them alike if they mean the same"
                    )
                    break
    return said
