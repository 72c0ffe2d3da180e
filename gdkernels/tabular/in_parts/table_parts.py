"""A table of any size, read part by part: each record has its number in the whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.errors import InputError
from gdkernels.tables.column.reading import Finding
from gdkernels.tables.formats.text import TextOptions
from gdkernels.tables.preparation.target_columns import gaps_of
from gdkernels.tables.read import Data, parts
from gdkernels.tables.table.table import Table
from gdkernels.tables.table.unread import ANOTHER_TARGET, refuse_unread

__all__ = ["TableParts"]


@dataclass(frozen=True)
class TableParts:
    """A table that is gone through more than once, and how to read it.

    Attributes
    ----------
    data
        The table, as `gdkernels.tables.read` takes it.
    target
        The columns to predict; None is what the table itself names.
    records
        The number of records in memory at a time.
    drop_missing
        Whether to leave out records without a target.
    findings, options
        The meaning of each column's cells, and the form of text files.
    progress
        Whether to count the records on stderr; None means on a terminal.
    """

    data: Data
    target: Sequence[str] | None
    records: int
    drop_missing: bool = False
    findings: Mapping[str, Finding] | None = None
    options: TextOptions | None = None
    progress: bool | None = None

    def numbered(self) -> Iterator[tuple[Table, npt.NDArray[np.int64]]]:
        """Yield the parts that are not empty, each with the numbers of its records in the whole.

        Raises
        ------
        InputError
            If there are no records.
        """
        done, kept = 0, 0
        for part in parts(self.data, self.records, findings=self.findings, options=self.options):
            numbers: npt.NDArray[Any] = np.arange(done, done + len(part))
            table = part
            done += len(part)
            if self.drop_missing:
                named = self.target or part.targets
                names = [name for name in named if name in part.columns]
                refuse_unread(part, names, ANOTHER_TARGET)
                gaps = [gaps_of(part.columns[name]) for name in names]
                rows = ~np.any(gaps, axis=0) if gaps else np.ones(len(part), bool)
                table, numbers = (part, numbers) if rows.all() else (part.take(rows), numbers[rows])
            if len(table):
                kept += len(table)
                yield table, numbers
        if not kept:
            raise InputError("the data have no records to learn from")
