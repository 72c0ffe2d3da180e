"""A table of any size, written to files as a network takes it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.errors import FileError
from gdkernels.system.cache_contents import TABLES
from gdkernels.system.cache_folder import cache_folder, unusable
from gdkernels.system.memory import gigabytes
from gdkernels.system.profiling import phase
from gdkernels.system.progress import RecordCount
from gdkernels.system.scratch import remove_left_behind, scratch_folder
from gdkernels.tables.table.table import Table
from gdkernels.tabular.in_parts.part_rules import PARTS, TRAIN, PartRule
from gdkernels.tabular.in_parts.survey import TableSurvey
from gdkernels.tabular.in_parts.table_parts import TableParts

__all__ = ["PreparedFiles", "converted"]

_SPARE = 1 << 28  # bytes of the disk that are left alone

Array = npt.NDArray[Any]


class _ArrayWriter:
    """Writes an array of so many records to an NPY file as its rows come; `like` are some of them.

    ``left`` is how many have not come yet.
    """

    def __init__(self, path: Path, records: int, like: Array) -> None:
        self.left = records
        self._file = path.open("wb")
        header = {"descr": like.dtype.str, "fortran_order": False, "shape": (records, *like.shape[1:])}
        np.lib.format.write_array_header_2_0(self._file, header)

    def __enter__(self) -> _ArrayWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, rows: Array) -> None:
        self._file.write(np.ascontiguousarray(rows).data)
        self.left -= len(rows)


@dataclass(frozen=True)
class PreparedFiles:
    """A folder of prepared records: for each of `PARTS` that has some, the files that `path` names."""

    folder: Path

    def path(self, part: str, what: str) -> Path:
        return self.folder / f"{part}-{what}.npy"


@contextmanager
def converted(
    parts: TableParts,
    found: TableSurvey,
    rule: PartRule,
    prepare: Callable[[Table, Array, Array], dict[str, Array]],
    record_bytes: int,
) -> Iterator[PreparedFiles]:
    """Write what `prepare` makes of a table's records to a folder of the cache, which is removed in the end.

    Parameters
    ----------
    prepare
        Returns for some records, with their numbers and their places in `PARTS`, the arrays to be kept, by name.
    record_bytes
        About what a record will take.

    Raises
    ------
    FileError
        If there is not enough room on the disk, it cannot be written, or the data are changed.
    """
    parent = cache_folder() / TABLES
    if (problem := unusable(parent)) is not None:
        raise FileError(f"the cache {parent} {problem}; set GDKERNELS_CACHE to a folder of your own")
    remove_left_behind(parent)
    need, free = int(found.counts.sum()) * record_bytes + _SPARE, shutil.disk_usage(parent).free
    if need > free:
        raise FileError(
            f"the prepared records need {gigabytes(need)} in {parent}, where {gigabytes(free)} are free; make some "
            "room, or set GDKERNELS_CACHE to a folder on another disk"
        )
    try:
        with scratch_folder(parent) as folder:
            files = PreparedFiles(folder)
            with phase("preparing"):
                _write(files, parts, found, rule, prepare)
            yield files
    except OSError as error:
        raise FileError(f"cannot write into {parent}: {(error.strerror or str(error)).lower()}") from error


def _write(
    folder: PreparedFiles,
    parts: TableParts,
    found: TableSurvey,
    rule: PartRule,
    prepare: Callable[[Table, Array, Array], dict[str, Array]],
) -> None:
    writers: dict[tuple[int, str], _ArrayWriter] = {}
    with ExitStack() as stack, RecordCount("preparing", parts.progress) as bar:
        for table, numbers in parts.numbered():
            which = rule.places(table, numbers)
            which[np.isin(numbers, list(found.firsts))] = TRAIN
            for what, array in prepare(table, numbers, which).items():
                for k, part in enumerate(PARTS):
                    rows = array[which == k]
                    if len(rows):
                        if (k, what) not in writers:
                            path = folder.path(part, what)
                            writers[k, what] = stack.enter_context(_ArrayWriter(path, int(found.counts[k]), rows))
                        writers[k, what].append(rows)
            bar.update(len(table))
    if any(writer.left for writer in writers.values()):
        raise FileError("the data were changed while they were read; start again with files that stay as they are")
