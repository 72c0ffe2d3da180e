"""What a column of polars is in a table of ours."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from gdkernels.errors import InputError
from gdkernels.tables.table import Column, spelled_numbers, text_column

__all__ = ["polars_column"]


def polars_column(series: Any, name: str, source: str) -> Column:
    """Return a series as numbers or text.

    Raises
    ------
    InputError
        Where it holds neither.
    """
    dtype = series.dtype
    if dtype.is_numeric() or dtype == pl.Null:
        return np.array(series.cast(pl.Float64).fill_null(float("nan")).to_numpy(), np.float64)
    if dtype == pl.Boolean:
        series = series.cast(pl.String)
    elif dtype in (pl.Date, pl.Datetime):
        series = series.dt.to_string("iso")
    elif dtype not in (pl.String, pl.Categorical, pl.Enum):
        raise InputError(
            f"column {name!r} of {source} holds {dtype}, neither numbers nor text; leave it out of the file"
        )
    return spelled_numbers(text_column(series.cast(pl.String).to_list()))
