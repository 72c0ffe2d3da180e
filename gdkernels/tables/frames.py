"""Tables from Parquet and Arrow (Feather) files, read by polars, which the extra ``tables`` brings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gdkernels.errors import InputError
from gdkernels.tables.streams import INSTALL
from gdkernels.tables.table import Column, Table, number_or_nan, number_text, text_column

__all__ = ["ARROW", "PARQUET", "polars", "read_frame"]

PARQUET, ARROW = b"PAR1", b"ARROW1"


def polars(purpose: str) -> Any:
    """Return the module polars.

    Raises
    ------
    InputError
        Where it is not installed; it says what it is needed for and how to install it.
    """
    try:
        import polars
    except ImportError:
        raise InputError(f"to {purpose}, {INSTALL}") from None
    return polars


def read_frame(path: Path, records: int) -> Iterator[Table]:
    """Yield the table of a Parquet or Arrow file in parts of so many records; the first part may be empty."""
    pl = polars(f"read {path}")
    with path.open("rb") as file:
        scan = pl.scan_parquet if file.read(4) == PARQUET else pl.scan_ipc
    try:
        lazy = scan(path, glob=False) if scan is pl.scan_parquet else scan(path)
        schema = lazy.collect_schema()
        count = lazy.select(pl.len()).collect().item()
        for first in range(0, max(count, 1), records):
            part = lazy.slice(first, records).collect()
            columns = {name: _column(part[name], pl, name, path) for name in schema}
            yield Table(columns, str(path), first=first)
    # A reader that does not expect a damaged file panics, which is no Exception.
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, MemoryError) as error:
        raise InputError(f"cannot read {path}: it is damaged ({' '.join(str(error).split())[:200]})") from None


def _column(series: Any, pl: Any, name: str, path: Path) -> Column:
    dtype = series.dtype
    if dtype.is_numeric() or dtype == pl.Null:
        return np.array(series.cast(pl.Float64).fill_null(float("nan")).to_numpy(), np.float64)
    if dtype == pl.Boolean:
        series = series.cast(pl.String)
    elif dtype in (pl.Date, pl.Datetime):
        series = series.dt.to_string("iso")
    elif dtype not in (pl.String, pl.Categorical, pl.Enum):
        raise InputError(f"column {name!r} of {path} holds {dtype}, neither numbers nor text; leave it out of the file")
    column = text_column(series.cast(pl.String).to_list())
    # Text in which each cell spells a number, in its shortest form, is numbers, as it is in a text file.
    spelled = [(level, number_or_nan(level)) for level in column.levels]
    if spelled and all(np.isfinite(number) and number_text(number) == level for level, number in spelled):
        return column.numbers()
    return column
