"""Parts of a table put together: the meaning of their text is decided over all of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gdkernels.errors import InputError
from gdkernels.tables.cells.cells import Cells
from gdkernels.tables.column.column_data import Column, NumberColumn, Text, finding_of
from gdkernels.tables.column.meaning import column_of, labels_of, settled, settled_together
from gdkernels.tables.table.table import Table, UnreadTable
from gdkernels.tables.table.unread import unread_column

__all__ = ["joined", "settled_table"]


def joined(tables: Sequence[Table], source: str) -> Table:
    """Return the table of all the records of tables with the same columns.

    Raises
    ------
    InputError
        If there are none.
    """
    if len(tables) == 1:
        return _checked(Table(tables[0].columns, source, tables[0].targets))
    columns = {n: _joined_column([t.columns[n] for t in tables]) for n in tables[0].names}
    return _checked(Table(columns, source, tables[0].targets))


def settled_table(tables: Sequence[UnreadTable], source: str) -> Table:
    """Return the table of all the records, the meaning of their text decided over all of them."""
    columns = settled_together({n: _settled_column([t.columns[n] for t in tables]) for n in tables[0].columns})
    return _checked(Table(columns, source, tables[0].targets))


def _settled_column(parts: Sequence[Column | Cells]) -> Column:
    cells = [part for part in parts if isinstance(part, Cells)]
    if len(cells) == len(parts):
        return settled(Cells.joined(cells))
    finding = finding_of(settled(Cells.joined(cells))) if cells else None
    return _joined_column([
        column_of(part, finding) if isinstance(part, Cells) and finding else part  # type: ignore[misc]
        for part in parts
    ])  # fmt: skip


def _checked(table: Table) -> Table:
    if not table.columns:
        raise InputError(f"{table.source} has no columns")
    if not len(table):
        raise InputError(f"{table.source} has a header and no records")
    return table


def _joined_column(columns: Sequence[Column]) -> Column:
    if len(columns) == 1:
        return columns[0]
    if unread := next((why for c in columns if (why := finding_of(c).unread)), ""):
        return unread_column(sum(map(len, columns)), unread)
    if any(isinstance(c, Text) for c in columns):
        return _joined_text(columns)
    numbers = [c for c in columns if isinstance(c, NumberColumn)]
    values = np.concatenate([np.asarray(c) for c in columns])
    if len(numbers) < len(columns):
        return values
    wrong = [np.zeros(len(c), bool) if c.wrong is None else c.wrong for c in numbers]
    sources = [c.source for c in numbers]
    cells = [source for source in sources if isinstance(source, Cells)]
    if 0 < len(cells) < len(sources):
        return values
    source = Cells.joined(cells) if cells else np.concatenate([np.asarray(source) for source in sources])
    mask = np.concatenate(wrong)
    return NumberColumn(values, source, numbers[0].finding, mask if mask.any() else None)


def _joined_text(columns: Sequence[Column]) -> Text:
    texts = [labels_of(c) for c in columns]
    levels = tuple(sorted({level for c in texts for level in c.levels}))
    places = {level: k for k, level in enumerate(levels)}
    codes = [c.lookup(np.array([places[level] for level in c.levels], np.int32), np.int32(-1)) for c in texts]
    cells = [c.cells for c in texts if c.cells is not None]
    joined_cells = Cells.joined(cells) if len(cells) == len(texts) else None
    return Text(np.concatenate(codes).astype(np.int32), levels, joined_cells, finding_of(columns[0]))
