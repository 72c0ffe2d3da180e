"""Tables that are in memory already: frames of pandas, polars and pyarrow, dicts of columns, arrays.

None of these libraries is imported: what is one of theirs comes from somebody who has done so.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from gdkernels.errors import InputError
from gdkernels.system.given import checked_path
from gdkernels.system.loaded import computed
from gdkernels.system.loaded import is_of as _is
from gdkernels.tables.column.column_data import Column, NumberColumn, Text
from gdkernels.tables.column.meaning import labels_of
from gdkernels.tables.column.reading import Finding
from gdkernels.tables.column.values import plain_column, whole_column
from gdkernels.tables.table.table import Table
from gdkernels.tables.table.unread import ANOTHER_TARGET, refuse_unread, unread_column

__all__ = ["SOURCE", "own_labels", "paths_of", "table_of", "target_cells", "with_target"]

SOURCE = "the table"
TARGET = "target"  # of targets that have no name


def paths_of(data: Any) -> list[str] | None:
    """Return the files, folders and built-in data sets that `data` names, or None where it holds a table itself."""
    if isinstance(data, (str, os.PathLike)):
        return [checked_path("the name of a table", data)]
    if isinstance(data, (list, tuple)) and len(data) and isinstance(data[0], (str, os.PathLike)):
        return [checked_path("the name of a table", item) for item in data]
    return None


def table_of(data: Any, findings: Mapping[str, Finding] | None = None, used: Collection[str] = ()) -> Table:
    """Return the table in a frame, a dict of columns, a list of dicts, or an array [records, columns].

    Of an array, the columns are numbered from 0. Numbers stay numbers; gaps are None, NaN, NaT or NA; booleans and
    categories are text, dates text in ISO 8601. What other text means is told from all of a column, as in a text file.

    Parameters
    ----------
    findings
        What is known already of the text of some columns, which need not be told.
    used
        The columns that are wanted, if not all are; where one of them is missing, all are there.

    Raises
    ------
    InputError
        For anything else, and for what a table cannot hold; the message names the column.
    """
    if isinstance(data, Table):
        return data
    named, findings = _used(data, frozenset(used)), findings or {}
    table = Table({name: _column(values, name, findings.get(name)) for name, values in named}, SOURCE)
    lengths = {len(column) for column in table.columns.values()}
    if len(lengths) != 1:
        raise InputError(f"the columns of {SOURCE} must have one length, not {sorted(lengths) or 'none'}")
    return table


def with_target(table: Table, y: Any, names: Sequence[str] | None = None) -> Table:
    """Return the table with `y` as its targets: one value a record, or several columns.

    Parameters
    ----------
    names
        Their names; None takes those that `y` has, or "target".

    Raises
    ------
    InputError
        If it has another number of records, or a column has that name already.
    """
    targets = [(name, _column(values, name)) for name, values in _named_targets(y, names)]
    if names is not None and len(names) != len(targets):
        raise InputError(f"y has {len(targets)} columns, and target names {len(names)}")
    for name, column in targets:
        if name in table.columns:
            raise InputError(
                f"{table.source} has a column {name!r}, as y is called; give y another name, or leave y out"
            )
        if len(column) != len(table):
            raise InputError(
                f"X and y must have the same number of records: X has {len(table):,}, y has {len(column):,}"
            )
    whole = Table({**table.columns, **dict(targets)}, table.source, tuple(name for name, _ in targets))
    refuse_unread(whole, whole.targets, ANOTHER_TARGET)
    return whole


def own_labels(values: Any, labels: Sequence[Any], spelled: Any) -> list[Any] | None:
    """Return the classes `labels` as they stand in a column of booleans or of text; None for one of other values.

    Parameters
    ----------
    values
        A column that was passed.
    spelled
        The label of each of its records.
    """
    cells = values.to_pylist() if hasattr(values, "to_pylist") else list(values)
    own = {label: cell.item() if isinstance(cell, np.generic) else cell
           for label, cell in zip(reversed(list(spelled)), reversed(cells), strict=True)}  # fmt: skip
    wanted = set(map(str, labels))
    own = {label: cell for label, cell in own.items() if label in wanted}
    kinds = {type(cell) for cell in own.values()}
    if kinds not in ({bool}, {str}):
        return None
    return [own.get(str(label), label) for label in labels]


def target_cells(X: Any, y: Any, name: str) -> Any:
    """Return the column `name` of `y`, or without that of the table X, as it was passed; None where X is no such."""
    if y is not None:
        ((_, values),) = _named_targets(y, (name,))
        return None if isinstance(values, (Text, NumberColumn)) else values
    if isinstance(X, Table) or paths_of(X) is not None:
        return None
    return dict(_named(X)).get(name)


def _named(data: Any) -> list[tuple[str, Any]]:
    """Return the columns of a table in memory by name, as they are."""
    data = computed(data)
    if isinstance(data, Mapping):
        pairs = [(name, data[name]) for name in data]
    elif isinstance(data, (list, tuple)) and data and all(isinstance(record, Mapping) for record in data):
        names = dict.fromkeys(name for record in data for name in record)
        pairs = [(name, [record.get(name) for record in data]) for name in names]
    elif isinstance(data, np.ndarray) and data.dtype.names:
        pairs = [(name, data[name]) for name in data.dtype.names]
    elif _is(data, "pandas", "DataFrame"):
        pairs = list(data.items())  # also where two have one name
    elif _is(data, "polars", "LazyFrame"):
        return _named(data.collect())
    elif _is(data, "polars", "DataFrame"):
        pairs = [(series.name, series) for series in data.get_columns()]
    elif _is(data, "pyarrow", "Table", "RecordBatch"):
        pairs = list(zip(data.schema.names, data.columns, strict=True))
    else:
        array = _array(data)
        pairs = [(k, array[:, k]) for k in range(array.shape[1])]
    called = [str(name) for name, _ in pairs]
    if len(set(called)) < len(called):
        twice = sorted({name for name in called if called.count(name) > 1})
        raise InputError(f"two columns of {SOURCE} are named {twice[0]!r}; give each its own name")
    return [(name, values) for name, (_, values) in zip(called, pairs, strict=True)]


def _used(data: Any, used: frozenset[str]) -> list[tuple[str, Any]]:
    """Return the columns that are used; all where one is missing, or where others do not go with them."""
    if used and _is(data, "pandas", "DataFrame"):
        labels = data.columns.tolist()
        if data.columns.is_unique and used.issubset(labels) and len(set(map(str, labels))) == len(labels):
            return [(label, data[label]) for label in labels if label in used]  # to take others takes long
    named = _named(data)
    found = [(name, values) for name, values in named if name in used]
    if not found or len(found) < len(used):
        return named
    records = _length(found[0][1])
    return found if all(_length(values) == records for _, values in named) else named


def _array(data: Any) -> Any:
    wanted = (
        "a table must be a frame of pandas, polars or pyarrow, a dict of columns, a list of dicts, an array "
        "[records, columns], a file"
    )
    if not isinstance(data, (list, tuple, np.ndarray)) and not hasattr(data, "__array__"):
        raise InputError(f"{wanted}, or several; got {type(data).__name__}")
    try:
        array = np.asarray(data)
    except ValueError:
        array = np.empty(0)
    if array.ndim != 2:
        raise InputError(f"{wanted}, or several; got an array of shape {list(array.shape)}")
    return array


def _named_targets(y: Any, names: Sequence[str] | None) -> list[tuple[str, Any]]:
    y = computed(y)
    is_column = (
        _is(y, "pandas", "Series") or _is(y, "polars", "Series") or _is(y, "pyarrow", "ChunkedArray", "Array")
    ) or (not hasattr(y, "columns") and not isinstance(y, (Mapping, Table)) and _dimensions(y) == 1)
    if is_column:
        own = getattr(y, "name", None)
        return [(names[0] if names else TARGET if own in (None, "") else str(own), y)]
    if isinstance(y, np.ndarray) and y.shape[1:] == (1,):
        return [(names[0] if names else TARGET, y[:, 0])]
    columns = list(y.columns.items()) if isinstance(y, Table) else _named(y)
    own_names = [f"{TARGET} {name}" if isinstance(y, (np.ndarray, list, tuple)) else name for name, _ in columns]
    told = list(names) if names and len(names) == len(columns) else own_names
    return [(name, values) for name, (_, values) in zip(told, columns, strict=True)]


def _dimensions(y: Any) -> int:
    try:
        return np.ndim(y)
    except ValueError:  # a list of lists of different lengths, which is no table
        return 1


def _column(values: Any, name: str, finding: Finding | None = None) -> Column:
    """Return a column; one that holds neither numbers nor text is refused by those who use it."""
    try:
        return _read(values, finding)
    except InputError as error:
        if (records := _length(values)) is None:
            raise InputError(f"column {name!r} of {SOURCE} {error}") from None
        return unread_column(records, str(error))


def _length(values: Any) -> int | None:
    """Return how many records a column has; None where it is no column at all."""
    try:
        return None if isinstance(values, (str, bytes, Mapping)) else len(values)
    except TypeError:
        return None


def _read(values: Any, finding: Finding | None = None) -> Column:
    """Return values as a column; the message of the `InputError` goes on from the column's name."""
    if isinstance(values, (Text, NumberColumn)):
        return values
    if type(values) in (list, np.ndarray):
        return plain_column(values, finding)
    if _is(values, "pandas", "Series"):
        return _pandas_column(values, finding)
    if _is(values, "polars", "Series"):
        from gdkernels.tables.formats.polars_columns import polars_column

        return polars_column(values)
    if _is(values, "pyarrow", "ChunkedArray", "Array"):
        return plain_column(values.to_pylist(), finding)
    if _is(values, "xarray", "DataArray"):
        return _read(values.to_numpy(), finding)
    if isinstance(values, np.ma.MaskedArray):  # what stands behind a mask is no value: a gap
        values = values.tolist()  # None in its place
    return plain_column(values, finding)


def _pandas_column(series: Any, finding: Finding | None = None) -> Column:
    pandas = sys.modules["pandas"]
    kinds = pandas.api.types
    dtype = series.dtype
    if isinstance(dtype, np.dtype) and dtype.kind in "iuf":  # as most are, and without gaps of another kind
        values = series.to_numpy()
        return np.array(values, np.float64) if dtype.kind == "f" else whole_column(values.astype(f"{dtype.kind}8"))
    if isinstance(dtype, pandas.StringDtype):
        return plain_column(series.to_numpy(dtype=object).tolist(), finding)
    if isinstance(dtype, pandas.CategoricalDtype):
        levels = labels_of(_pandas_column(series.cat.categories.to_series()))
        codes = np.append(levels.codes, np.int32(-1))[series.cat.codes.to_numpy()]
        return Text(codes.astype(np.int32), levels.levels)
    if kinds.is_timedelta64_dtype(dtype) or kinds.is_complex_dtype(dtype):
        raise InputError(f"holds {dtype}, neither numbers nor text")
    if kinds.is_integer_dtype(dtype):
        unsigned = "u" if str(dtype).lower().startswith("u") else ""
        gaps = series.isna().to_numpy()
        return whole_column(series.fillna(0).to_numpy(dtype=f"{unsigned}int64"), gaps if gaps.any() else None)
    if kinds.is_numeric_dtype(dtype) and not kinds.is_bool_dtype(dtype):
        return np.array(series.to_numpy(dtype=np.float64, na_value=np.nan))
    return plain_column(series.to_numpy(dtype=object).tolist(), finding)
