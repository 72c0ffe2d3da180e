"""Predictions as a table: CSV as they come, or Parquet."""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np

from gdkernels.errors import InputError
from gdkernels.tables.frames import polars
from gdkernels.tables.table import Column, Text

__all__ = ["cells_of", "check_format", "write_csv", "writer_for"]

Part = tuple[Sequence[str], list[list[Any]]]


def cells_of(column: Column) -> list[Any]:
    """Return a column's cells: text, or numbers in their shortest form, empty where there is nothing."""
    if isinstance(column, Text):
        return column.lookup(np.array(column.levels, object), "").tolist()  # type: ignore[no-any-return]
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
        # Through a temporary CSV file, so that there is never more than a part in memory.
        with tempfile.NamedTemporaryFile("w+", suffix=".csv", encoding="utf-8", newline="") as file:
            first = next(parts)
            schema = {name: pl.String if _is_text(cells) else pl.Float64 for name, cells in zip(*first, strict=True)}
            write_csv(file, chain([first], parts))
            file.flush()
            pl.scan_csv(file.name, schema=schema, glob=False).sink_parquet(to)

    return parquet if path.lower().endswith(".parquet") else text


def _is_text(cells: list[Any]) -> bool:
    return any(isinstance(cell, str) and cell for cell in cells)
