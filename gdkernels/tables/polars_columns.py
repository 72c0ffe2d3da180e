"""From a column of polars to a column of our tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from gdkernels.errors import InputError
from gdkernels.tables.cells import Cells
from gdkernels.tables.column_data import Column
from gdkernels.tables.meaning import settled
from gdkernels.tables.values import boolean_values, whole_column

__all__ = ["polars_column", "raw_polars_column"]

_EXACT = 2.0**53  # from here on, float64 cannot tell whole numbers apart


def polars_column(series: Any, name: str, source: str) -> Column:
    """Return a series as numbers or text; the meaning of text is decided from all of it.

    Raises
    ------
    InputError
        If it holds neither.
    """
    raw = raw_polars_column(series, name, source)
    return settled(raw) if isinstance(raw, Cells) else raw


def raw_polars_column(series: Any, name: str, source: str) -> Column | Cells:
    """Return a series as numbers, truth values or cells of text; raises what `polars_column` does."""
    dtype = series.dtype
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
    if dtype in (pl.Date, pl.Datetime):
        series = series.dt.to_string("iso")
    elif dtype not in (pl.String, pl.Categorical, pl.Enum):
        raise InputError(
            f"column {name!r} of {source} holds {dtype}, neither numbers nor text; leave it out of the file"
        )
    return Cells.of(series.cast(pl.String).to_list())
