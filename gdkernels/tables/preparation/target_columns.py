"""The target columns of a table: which they are, that they have no gaps, and the records that have them all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from gdkernels.errors import InputError, keyword
from gdkernels.tables.column.column_data import Column, NumberColumn, Text, finding_of, numbers_in
from gdkernels.tables.column.meaning import read_as
from gdkernels.tables.column.reading import NUMBER
from gdkernels.tables.features.kinds import refuse_doubts
from gdkernels.tables.table.checked import numbers_of
from gdkernels.tables.table.table import Table, listed, no_column
from gdkernels.tables.table.unread import ANOTHER_TARGET, refuse_unread

__all__ = ["checked_targets", "complete", "gaps_of", "with_targets"]


def checked_targets(table: Table, target: str | Sequence[str] | None, task: str = "auto") -> tuple[str, ...]:
    """Return the names of the targets, which are there and have no gaps.

    Raises
    ------
    InputError
        Otherwise; it says which columns there are, or how many records have gaps.
    """
    given = (target,) if isinstance(target, str) else tuple(target or table.targets)
    if not given:
        raise InputError(
            f"say which column of {table.source} is to be predicted: {keyword('target', 'COLUMN')}; it has "
            f"{listed(table.names)}"
        )
    names = tuple(dict.fromkeys(_resolved(table, name) for name in given))
    refuse_unread(table, names, ANOTHER_TARGET)
    for name in names:
        if task != "classification":
            found = {name: finding_of(table.columns[name])}
            refuse_doubts(found, table.source, f"say {keyword('task', 'classification')} if these are names of classes")
        gaps = gaps_of(table.columns[name])
        if gaps.any():
            raise InputError(
                f"the target {name!r} has no value in {gaps.sum():,} of {len(gaps):,} records of {table.source}, first "
                f"in record {table.first + int(np.argmax(gaps)) + 1:,}; fill them in or say "
                f"{keyword('drop_missing', True)}"
            )
        if task != "classification" and not isinstance(table.columns[name], Text):
            numbers_of(table, name)  # infinity is refused with its place
        elif task == "regression" and finding_of(table.columns[name]).reading.kind != "date":
            _check_numbers(table, name)
    return names


def _check_numbers(table: Table, name: str) -> None:
    """Refuse text where numbers are to be predicted: a cell that is none is no gap there."""
    column = table.columns[name]
    reading = replace(finding_of(column).number or NUMBER, lenient=False)
    alone = Table({name: read_as(column, reading)}, table.source, first=table.first)
    gaps = np.isnan(numbers_of(alone, name))
    if gaps.any():
        raise InputError(
            f"{table.place(int(np.argmax(gaps)), name)}: no number to learn; fill it in or remove the record"
        )


def with_targets(table: Table, target: str | Sequence[str] | None) -> Table:
    """Return the table of the records that have all the targets.

    Raises
    ------
    InputError
        If none has.
    """
    kept = complete(table, target)
    if not len(kept):
        given = (target,) if isinstance(target, str) else tuple(target or table.targets)
        raise InputError(f"no record of {table.source} has a value of {listed(given)}: there is nothing to learn")
    return kept


def complete(table: Table, target: str | Sequence[str] | None) -> Table:
    """Return the table of the records that have all the targets, which may be none."""
    given = (target,) if isinstance(target, str) else tuple(target or table.targets)
    names = [_resolved(table, name) for name in given]
    refuse_unread(table, names, ANOTHER_TARGET)
    gaps = [gaps_of(table.columns[name]) for name in names]
    kept = ~np.any(gaps, axis=0) if gaps else np.ones(len(table), bool)
    return table if kept.all() else table.take(kept)


def gaps_of(column: Column) -> npt.NDArray[np.bool_]:
    """Return which records have no value."""
    if isinstance(column, Text):
        return column.codes < 0
    gaps = np.isnan(numbers_in(column))
    wrong = column.wrong if isinstance(column, NumberColumn) else None
    return gaps if wrong is None else gaps & ~wrong


def _resolved(table: Table, name: str) -> str:
    if name in table.columns:
        return name
    if name[:1] == "-" and name[1:].isdigit() and table.names == tuple(map(str, range(len(table.names)))):
        position = len(table.names) + int(name)
        if 0 <= position < len(table.names):
            return table.names[position]
    raise no_column(name, table.names, table.source, "target")
