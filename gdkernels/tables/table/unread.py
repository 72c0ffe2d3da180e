"""Columns that hold neither numbers nor text, such as lists: they stay in the table, and are refused where one is used.

So a table can be learned from that has such columns beside others, if you leave them out.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from gdkernels.errors import InputError, keyword
from gdkernels.tables.column.column_data import Text, finding_of
from gdkernels.tables.column.reading import TEXT, Finding
from gdkernels.tables.table.table import Table

__all__ = ["ANOTHER_TARGET", "refuse_unread", "unread_column"]

ANOTHER_TARGET = "predict another column, or make numbers or text of it"


def unread_column(records: int, why: str) -> Text:
    """Return a column of gaps in place of one that cannot be read; `why` goes on from its name: ``holds lists``."""
    return Text(np.full(records, -1, np.int32), (), finding=Finding(TEXT, unread=why))


def refuse_unread(table: Table, names: Iterable[str], advice: str | None = None) -> None:
    """Refuse columns that could not be read, all of them at once.

    Parameters
    ----------
    names
        The columns that are used.
    advice
        What to do, in place of leaving them out.

    Raises
    ------
    InputError
        Then; it says what they hold, and what to do.
    """
    found = {name: finding_of(table.columns[name]).unread for name in names}
    if wrong := {name: why for name, why in found.items() if why}:
        told = "; ".join(f"column {name!r} of {table.source} {why}" for name, why in list(wrong.items())[:4])
        more = f"; and {len(wrong) - 4:,} more" if len(wrong) > 4 else ""
        out = f"leave out by {keyword('ignore', list(wrong)[:4])} what you do not need, or make numbers or text of it"
        raise InputError(f"{told}{more}; {advice or out}")
