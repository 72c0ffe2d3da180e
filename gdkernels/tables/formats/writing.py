"""Predictions as a table: CSV as they come, or Parquet."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np

from gdkernels.errors import InputError
from gdkernels.tables.cells.cells import Cells
from gdkernels.tables.column.column_data import Column, NumberColumn, Text
from gdkernels.tables.formats.frames import polars

__all__ = ["cells_of", "check_format", "write_csv", "writer_for"]

# Of Parquet: the records of a row group, as polars makes them, but no more than take so many bytes, each cell its own.
_ROW_GROUP, _GROUP_BYTES, _CELL = 512 * 512, 64 << 20, 8

Part = tuple[Sequence[str], list[list[Any]]]


def cells_of(column: Column, *, typed: bool = False) -> list[Any]:
    """Return a column's cells as they were read; of numbers that were never text, the numbers, "" where there is none.

    Parameters
    ----------
    typed
        Whether numbers stay whole or not as the table holds them, in place of being shown in their shortest form.
    """
    if isinstance(column, Text):
        if column.cells is not None:
            return column.cells.tolist()
        return column.lookup(np.array(column.levels, object), "").tolist()  # type: ignore[no-any-return]
    if isinstance(column, NumberColumn):
        if isinstance(column.source, Cells):
            return column.source.tolist()
        gaps = np.isnan(column.values).tolist()
        return ["" if gap else value for gap, value in zip(gaps, column.source.tolist(), strict=True)]
    if typed:
        return ["" if np.isnan(v) else v for v in column.tolist()]
    return ["" if np.isnan(v) else int(v) if abs(v) < 2**53 and v == round(v) else v for v in column.tolist()]


def check_format(path: str) -> None:
    """Refuse a name of which the format does not follow, or that needs a library which is not there."""
    suffix = Path(path).suffix.lower()
    if suffix == ".parquet":
        polars(f"write {path}")
    elif suffix not in (".csv", ".tsv"):
        raise InputError(f"cannot write {path}: end its name in .csv, .tsv or .parquet")


def write_csv(to: IO[str], parts: Iterable[Part], delimiter: str = ",") -> None:
    """Write the names of the columns, then each part's records, as they come."""
    writer = csv.writer(to, delimiter=delimiter, lineterminator="\n")
    for k, (names, columns) in enumerate(parts):
        if k == 0:
            writer.writerow(names)
        writer.writerows(zip(*columns, strict=True))


def writer_for(path: str, parts: Iterator[Part]) -> Any:
    """Return what writes `parts` to a binary file in the format that the name `path` asks for."""

    def text(to: BinaryIO) -> None:
        file = io.TextIOWrapper(to, encoding="utf-8", newline="")
        try:
            write_csv(file, parts, "\t" if path.lower().endswith(".tsv") else ",")
        finally:
            file.detach()  # flushed, and left open for who opened it

    def parquet(to: BinaryIO) -> None:
        pl = polars(f"write {path}")
        names, columns = first = next(parts)
        dtypes = [pl.String if _is_text(cells) else pl.Int64 if _is_whole(cells) else pl.Float64 for cells in columns]
        schema = dict(zip(names, dtypes, strict=True))

        def frames(with_columns: list[str] | None, *_: object) -> Iterator[Any]:
            for _names, part in chain([first], parts):
                typed = zip(names, part, dtypes, strict=True)
                frame = pl.DataFrame([_series(pl, path, *column) for column in typed])
                yield frame if with_columns is None else frame.select(with_columns)

        # Streamed, so that there are never more than a few parts in memory, and the row group that is being filled.
        rows = min(_ROW_GROUP, max(1, _GROUP_BYTES // (_CELL * len(names))))
        register = import_module("polars.io.plugins").register_io_source
        try:
            register(frames, schema=schema).sink_parquet(to, row_group_size=rows)
        except pl.exceptions.PolarsError as error:  # what the file system said is in its text
            if (number := re.search(r"os error (\d+)", str(error))) is None:
                raise
            raise OSError(int(number[1]), os.strerror(int(number[1]))) from error

    return parquet if path.lower().endswith(".parquet") else text


def _is_text(cells: list[Any]) -> bool:
    return any(isinstance(cell, str) and cell for cell in cells)


def _is_whole(cells: list[Any]) -> bool:
    """Return whether all that there are are whole numbers that fit into 64 bits."""
    present = [cell for cell in cells if cell != ""]
    return bool(present) and all(type(cell) is int and abs(cell) < 2**63 for cell in present)


def _series(pl: Any, path: str, name: str, cells: list[Any], dtype: Any) -> Any:
    if dtype == pl.String:
        return pl.Series(name, [None if cell == "" else str(cell) for cell in cells], dtype)
    if _is_text(cells):
        raise InputError(
            f"cannot write {path}: column {name!r} begins with numbers and goes on with text, which Parquet cannot "
            "hold; write .csv"
        )
    if dtype == pl.Int64 and not _is_whole(cells) and any(cell != "" for cell in cells):
        raise InputError(
            f"cannot write {path}: column {name!r} begins with whole numbers and goes on with others, which Parquet "
            "cannot hold; write .csv"
        )
    number = int if dtype == pl.Int64 else float
    return pl.Series(name, [None if cell == "" else number(cell) for cell in cells], dtype)
