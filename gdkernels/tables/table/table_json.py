"""A table as JSON with arrays beside it, for other processes: its columns, and the cells that they were read from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.tables.cells.cells import Cells
from gdkernels.tables.column.column_data import Column, Floats, NumberColumn, Text
from gdkernels.tables.column.reading import Finding
from gdkernels.tables.table.table import Table

__all__ = ["table_from_json", "table_to_json"]

Arrays = list[npt.NDArray[Any]]


def table_to_json(table: Table) -> tuple[dict[str, Any], Arrays]:
    """Return what JSON can hold of a table that was read from files, and its arrays."""
    arrays: Arrays = []
    columns = [[name, _told(column, arrays)] for name, column in table.columns.items()]
    told = {"columns": columns, "source": table.source, "targets": list(table.targets), "first": table.first}
    return told, arrays


def table_from_json(told: dict[str, Any], arrays: Sequence[npt.NDArray[Any]]) -> Table:
    """Return the table of `table_to_json`."""
    columns = {name: _column(one, arrays) for name, one in told["columns"]}
    return Table(columns, told["source"], tuple(told["targets"]), told["first"])


def _told(column: Column, arrays: Arrays) -> dict[str, Any]:
    """Return what JSON can hold of a column; its numbers join `arrays`, where their places name them."""
    if isinstance(column, np.ndarray):
        return {"values": _kept(column, arrays)}
    wrong = None if column.wrong is None else _kept(column.wrong, arrays)
    told = {"finding": column.finding.to_json(), "wrong": wrong}
    if isinstance(column, Text):
        cells = None if column.cells is None else _cells_told(column.cells)
        return told | {"codes": _kept(column.codes, arrays), "levels": list(column.levels), "cells": cells}
    source = column.source
    kept = {"cells": _cells_told(source)} if isinstance(source, Cells) else {"source": _kept(source, arrays)}
    return told | {"numbers": _kept(column.values, arrays)} | kept


def _column(told: dict[str, Any], arrays: Sequence[npt.NDArray[Any]]) -> Column:
    if "values" in told:
        values: Floats = arrays[told["values"]]
        return values
    finding = Finding.from_json(told["finding"])
    wrong = None if told["wrong"] is None else arrays[told["wrong"]]
    cells = None if told.get("cells") is None else Cells(*told["cells"])
    if "codes" in told:
        return Text(arrays[told["codes"]], tuple(told["levels"]), cells, finding, wrong)
    source = arrays[told["source"]] if cells is None else cells
    return NumberColumn(arrays[told["numbers"]], source, finding, wrong)


def _cells_told(cells: Cells) -> list[Any]:
    own = cells.copy()
    return [own.texts, own.counts, own.delimiter]


def _kept(array: npt.NDArray[Any], arrays: Arrays) -> int:
    arrays.append(array)
    return len(arrays) - 1
