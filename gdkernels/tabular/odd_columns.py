"""Remarks on columns whose cells may mean something else: numbers like dates, far-off dates, names that look alike."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection
from datetime import UTC, datetime, timedelta

import numpy as np

from gdkernels.errors import keyword
from gdkernels.tables import Preparation, Table
from gdkernels.tables.checked import days_of, numbers_of
from gdkernels.tables.column_data import Text
from gdkernels.tables.columns import Category, Date, Number
from gdkernels.tables.counted_dates import like_dates
from gdkernels.tables.sentinels import sentinels_of

__all__ = ["alike_names", "counted_dates", "far_dates"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FAR, _NEAR = (datetime(year, 1, 1, tzinfo=UTC) for year in (2200, 2150))
_UNSEEN = dict.fromkeys((0x00AD, 0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF))  # characters without a width


def counted_dates(table: Table, preparation: Preparation, named: Collection[str]) -> list[str]:
    """Return which inputs are numbers that may be dates, but for those of which the user said something."""
    told = [kind.name for kind in preparation.columns if isinstance(kind, Number) and kind.name not in named]
    found = {name: like_dates(name, numbers_of(table, name)) for name in told}
    return [f"column {name!r} {dates}" for name, dates in found.items() if dates]


def far_dates(table: Table, preparation: Preparation, named: Collection[str]) -> list[str]:
    """Return which dates are far from all others, as 9999-12-31 is where it means that something has no end."""
    said = []
    for kind in preparation.columns:
        column = table.columns[kind.name]
        if not isinstance(kind, Date) or not isinstance(column, Text) or kind.name in named:
            continue
        days = days_of(column.levels, kind.pattern)[:, 0]
        each = column.lookup(days, np.nan)
        present = each[~np.isnan(each)]
        far = set(sentinels_of(present))
        if len(present) and np.median(present) < (_NEAR - _EPOCH).days:
            far |= set(present[present >= (_FAR - _EPOCH).days])
        if not far or len(far) == len(np.unique(present)):
            continue
        count, one = int(np.isin(present, list(far)).sum()), max(far, key=abs)
        cell = column.levels[int(np.flatnonzero(days == one)[0])]
        others = present[~np.isin(present, list(far))]
        low, high = ((_EPOCH + timedelta(days=float(end))).date() for end in (others.min(), others.max()))
        said.append(
            f"column {kind.name!r} has {count:,} {'date' if count == 1 else 'dates'} far from all others "
            f"({low} to {high}), such as {cell[:40]!r}: if it means a gap, say {keyword('missing', [cell[:40]])}"
        )
    return said


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
