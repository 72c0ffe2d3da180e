"""The process in which polars reads files: a file that makes it crash ends nothing else.

On stdin comes a line of JSON for each file; on stdout goes what is in it: lengths, headers in JSON, and the bytes of
numbers.
"""

from __future__ import annotations

import contextlib
import glob
import json
import math
import os
import select
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from gdkernels.errors import InputError
from gdkernels.system import memory
from gdkernels.tables.cells.cells import Cells
from gdkernels.tables.column.column_data import Column, NumberColumn, Text
from gdkernels.tables.formats.polars_columns import raw_polars_column, why_unread
from gdkernels.tables.table.table import UnreadTable
from gdkernels.tables.table.unread import unread_column

__all__ = ["main"]

PARQUET = b"PAR1"
# What a part of a file may take, whatever number of records is asked for, and the records that polars holds at most,
# where more than a part is asked for at a time.
_PART_BYTES, _MOST = 256 << 20, 65_536
# By which it is estimated: a number, which is copied twice, and a text beside its characters; how many records are
# looked at for these.
_NUMBER, _TEXT, _LOOKED_AT = 24, 100, 256
_IDLE_SECONDS = 1.0  # without a request, then it ends
# Where all of its threads work for less than this in each of so many seconds, and none waits for a core or a disk, they
# wait for each other.
_WORK, _STILL_SECONDS = 0.01, 10
_THREADS = "/proc/self/task"


def main() -> None:
    """Answer until no more requests come."""
    begun, room = memory.data(), _limit_memory()
    watch = _Watch()
    # Whatever a library prints goes elsewhere: stdout carries the answers.
    with os.fdopen(os.dup(1), "wb") as answers, os.fdopen(0, "rb", buffering=0, closefd=False) as questions:
        os.dup2(2, 1)
        while select.select([questions], [], [], _IDLE_SECONDS)[0] and (line := questions.readline()):
            _tell(answers, {"begun": True})
            path, name, records = json.loads(line)
            try:
                for table in watch.while_reading(_parts(Path(path), name, records)):
                    _tell_table(answers, table)
                _tell(answers, {"done": True})
            except InputError as error:
                _tell(answers, {"refused": str(error)})
                panicked = isinstance(error.__cause__, pl.exceptions.PanicException)
                if panicked or memory.data() - begun > room / 2:
                    return  # nobody knows what is left of polars, or in what it keeps its memory


def _limit_memory() -> float:
    """Refuse a file that needs more memory than there is, before the system ends a process for it.

    Return how much there is.
    """
    import resource

    if (room := memory.room()) is None:
        return math.inf
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    with contextlib.suppress(ValueError, OSError):  # more than the hard limit, which holds anyway
        resource.setrlimit(resource.RLIMIT_DATA, (memory.data() + room.bytes, hard))
    return room.bytes


class _Watch:
    """Ends this process where polars waits for itself, which it does where a thread of its own had no memory.

    It ends also with the process that asks, even then.
    """

    def __init__(self) -> None:
        self._reading = False
        threading.Thread(target=self._watch, args=(os.getppid(),), daemon=True).start()

    def while_reading(self, tables: Iterator[UnreadTable]) -> Iterator[UnreadTable]:
        """Yield them; while they are used, nothing is watched."""
        while True:
            self._reading = True
            try:
                table = next(tables, None)
            finally:
                self._reading = False
            if table is None:
                return
            yield table

    def _watch(self, parent: int) -> None:
        worked, still = time.process_time(), 0
        while os.getppid() == parent:
            time.sleep(1)
            now = time.process_time()
            still = still + 1 if self._reading and now - worked < _WORK and not _kept_waiting() else 0
            worked = now
            if still == _STILL_SECONDS:
                break
        os.kill(os.getpid(), signal.SIGKILL)


def _kept_waiting() -> bool:
    """Return whether the machine keeps another thread from its work: it has no core for it, or its disk is slow."""
    own = str(threading.get_native_id())
    try:
        for number in os.listdir(_THREADS):
            with contextlib.suppress(OSError), open(f"{_THREADS}/{number}/stat", "rb") as file:  # it may be gone
                if number != own and file.read().rpartition(b")")[2].split()[0] in (b"R", b"D"):
                    return True
    except (OSError, MemoryError):  # not Linux; or there is none, which threads of polars then wait for
        return False
    return False


def _parts(path: Path, source: str, records: int) -> Iterator[UnreadTable]:
    try:
        lazy = _scan(path)
        schema = lazy.collect_schema()
        unread = {name: why for name, dtype in schema.items() if (why := why_unread(dtype))}
        if len(unread) < len(schema):  # lists and the like may be larger than all the rest, and nobody uses them
            lazy = lazy.with_columns(pl.lit(None).alias(name) for name in unread)
            schema = lazy.collect_schema()
        count = lazy.select(pl.len()).collect().item()
        held, made = _record_bytes(lazy, schema)
        records = min(records, max(1, _PART_BYTES // made))
        # A slice decodes all that is before it in its row group, so that there are no more of them than must be.
        at_once = max(records, min(_MOST, _PART_BYTES // held) // records * records)
        for start in range(0, max(count, 1), at_once):
            several = lazy.slice(start, at_once).collect()
            for first in range(0, max(len(several), 1), records):
                part = several.slice(first, records)
                columns = {
                    s.name: unread_column(len(s), unread[s.name]) if s.name in unread else raw_polars_column(s)
                    for s in part.get_columns()
                }
                yield UnreadTable(columns, source, first=start + first)
    # A reader that does not expect a damaged file panics, which is no Exception.
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, MemoryError) as error:
        raise InputError(f"cannot read {source}: it is damaged ({' '.join(str(error).split())[:200]})") from error


def _scan(path: Path) -> pl.LazyFrame:
    """Return the frame in a file of this very name, which may have any characters."""
    with path.open("rb") as file:
        if file.read(4) == PARQUET:
            return pl.scan_parquet(path, glob=False)
    # The function for Arrow has no such argument in older versions.
    return pl.scan_ipc(glob.escape(str(path)))


def _record_bytes(lazy: pl.LazyFrame, schema: pl.Schema) -> tuple[int, int]:
    """Return about how much memory a record takes in polars, and on its way from there to a table of ours."""
    text = [name for name, dtype in schema.items() if dtype in (pl.String, pl.Categorical, pl.Enum)]
    numbers = len(schema) - len(text)
    characters = 0
    if text:
        first = lazy.select(text).slice(0, _LOOKED_AT).collect()
        characters = int(first.estimated_size()) // max(1, len(first))
    return max(1, 8 * numbers + characters), max(1, _NUMBER * numbers + _TEXT * len(text) + 2 * characters)


def _tell_table(answers: IO[bytes], table: UnreadTable) -> None:
    columns = [(name, *_told(column)) for name, column in table.columns.items()]
    head = [(name, kind, more) for name, kind, more, _ in columns]
    _tell(answers, {"rows": len(table), "first": table.first, "columns": head})
    for _, _, _, arrays in columns:
        for array in arrays:
            answers.write(np.ascontiguousarray(array).data)
    answers.flush()


def _told(column: Column | Cells) -> tuple[str, Any, list[npt.NDArray[Any]]]:
    """Return the kind of a column, what else there is to know, and its bytes, as `frames` reads them."""
    if isinstance(column, Cells):
        places: dict[str, int] = {}
        codes = [places.setdefault(cell, len(places)) for cell in column.tolist()]
        return "text", list(places), [np.array(codes, np.int32)]
    if isinstance(column, Text) and column.finding.unread:
        return "unread", column.finding.unread, []
    if isinstance(column, Text):
        return "boolean", list(column.levels), [column.codes]
    if isinstance(column, NumberColumn):
        assert isinstance(column.source, np.ndarray)
        gaps = np.isnan(column.values)
        more = {"dtype": column.source.dtype.str, "gaps": bool(gaps.any())}
        return "whole", more, [column.source, *([gaps] if gaps.any() else [])]
    return "numbers", None, [column]


def _tell(answers: IO[bytes], told: dict[str, Any]) -> None:
    text = json.dumps(told).encode()
    answers.write(len(text).to_bytes(8, "little") + text)
    answers.flush()
