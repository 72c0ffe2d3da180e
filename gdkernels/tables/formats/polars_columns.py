"""From a column of polars to a column of our tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from gdkernels.tables.cells.cells import Cells
from gdkernels.tables.column.column_data import Column
from gdkernels.tables.column.meaning import settled
from gdkernels.tables.column.values import boolean_values, plain_column, whole_column
from gdkernels.tables.table.unread import unread_column

__all__ = ["polars_column", "raw_polars_column", "why_unread"]

_EXACT = 2.0**53  # from here on, float64 cannot tell whole numbers apart


def polars_column(series: Any) -> Column:
    """Return a series as numbers or text, if it holds such; the meaning of text is decided from all of it."""
    if series.dtype == pl.Object:  # Python's own values
        return plain_column(series.to_list())
    raw = raw_polars_column(series)
    return settled(raw) if isinstance(raw, Cells) else raw


def why_unread(dtype: Any) -> str:
    """Return why a column of this type cannot be read, going on from its name; "" if it can."""
    numbers = dtype.is_numeric() or dtype in (pl.Null, pl.Boolean)
    text = dtype in (pl.Date, pl.Datetime, pl.Time, pl.String, pl.Categorical, pl.Enum)
    return "" if numbers or text else f"holds {dtype}, neither numbers nor text"


def raw_polars_column(series: Any) -> Column | Cells:
    """Return a series as numbers, truth values or cells of text; of other things, a column that was not read."""
    dtype = series.dtype
    if why := why_unread(dtype):
        return unread_column(len(series), why)
    if dtype.is_integer():
        kind, own = (pl.UInt64, np.uint64) if dtype.is_unsigned_integer() else (pl.Int64, np.int64)
        if not series.null_count():
            return whole_column(series.cast(kind).to_numpy())
        # Of a table of many columns, what polars does beside this for each of them is most of the time.
        numbers = series.cast(pl.Float64).to_numpy()
        gaps = np.isnan(numbers)
        filled = np.where(gaps, 0.0, numbers)
        if np.abs(filled).max() < _EXACT:
            return whole_column(filled.astype(own), gaps)
        return whole_column(series.fill_null(0).cast(kind).to_numpy(), gaps)
    if dtype.is_numeric() or dtype == pl.Null:
        return np.array(series.cast(pl.Float64).to_numpy(), np.float64)  # NaN where there is nothing
    if dtype == pl.Boolean:
        return boolean_values(series.to_list())
    if dtype in (pl.Date, pl.Datetime, pl.Time):
        series = series.dt.to_string("iso")
    return Cells.of(series.cast(pl.String).to_list())
