"""A table of any size, gone through twice: to see what is in it, and to write what a network takes to files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.errors import FileError, InputError
from gdkernels.randomness import generator
from gdkernels.system.cache_folder import cache_folder, unusable
from gdkernels.system.memory import gigabytes
from gdkernels.system.profiling import phase
from gdkernels.system.progress import RecordCount
from gdkernels.tables.outcomes import labels
from gdkernels.tables.preparation import checked_targets, gaps_of
from gdkernels.tables.read import Data, joined, parts
from gdkernels.tables.sample import Sample
from gdkernels.tables.table import Table, Text

__all__ = ["PARTS", "Converted", "Draw", "Survey", "converted", "survey"]

PARTS = ("train", "validation", "test")
TRAIN, VALIDATION, TEST = range(len(PARTS))

_CHUNK = 65_536
# More labels are no classes: of text or where classes are asked for, and of numbers.
_MOST_LABELS, _MOST_CLASSES = 10_000, 20
_SPARE = 1 << 28  # bytes of the disk that are left alone

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Draw:
    """Which records are for training, validation and test: each drawn by itself, by its number in the data."""

    seed: int
    test: float
    validation: float

    def of(self, first: int, count: int) -> npt.NDArray[np.int64]:
        """Return for each of so many records its place in `PARTS`."""
        chunks = range(first // _CHUNK, -(-(first + count) // _CHUNK))
        drawn = np.concatenate([generator(self.seed, "rows", k).random(_CHUNK) for k in chunks])
        drawn = drawn[first - chunks.start * _CHUNK :][:count]
        edge = self.test + (1 - self.test) * self.validation
        return np.where(drawn < self.test, TEST, np.where(drawn < edge, VALIDATION, TRAIN))


@dataclass(frozen=True)
class Survey:
    """What is in a table.

    Attributes
    ----------
    sample
        Records that stand for all: a uniform sample, and with them the first of each label, and the lowest and the
        highest of each target.
    learn
        Those of its rows that are not for the test.
    counts
        How many records there are in each of `PARTS`.
    labels
        By label of the target, the same; None where there are too many for classes.
    firsts
        The numbers of the first records of the labels, which are for training.
    identifiers
        Columns that number the records.
    """

    sample: Table
    learn: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    labels: dict[str, npt.NDArray[np.int64]] | None
    firsts: frozenset[int]
    identifiers: tuple[str, ...]


def survey(
    data: Data, target: Sequence[str] | None, task: str, draw: Draw, *, drop_missing: bool, most: int, records: int
) -> Survey:
    """Go through a table once.

    Parameters
    ----------
    most
        How many records the sample has.
    records
        How many are in memory at a time.

    Raises
    ------
    FileError, InputError
        As `gdkernels.tables.read`, and for targets that are missing or have gaps.
    """
    sample: Sample[tuple[Table, Array]] = Sample(
        most, generator(draw.seed, "sample"), lambda part, rows: (part[0].take(rows), part[1][rows])
    )
    counts = np.zeros(len(PARTS), np.int64)
    found: dict[str, npt.NDArray[np.int64]] | None = None if task == "regression" else {}
    firsts: dict[int, int] = {}  # by the number of a label's first record, what it was drawn for
    witnesses: list[tuple[Table, Array]] = []
    extremes: dict[tuple[str, bool], tuple[float, Table, Array]] = {}
    ranges: dict[str, tuple[float, float] | None] = {}
    with RecordCount("surveying") as bar:
        for table, numbers in numbered(data, target, drop_missing=drop_missing, records=records):
            names = checked_targets(table, target, task)
            which = draw.of(int(numbers[0]), int(numbers[-1] - numbers[0]) + 1)[numbers - numbers[0]]
            if found is not None:
                distinct, first, place = np.unique(labels(table, names[0]).astype(str), True, True)
                new = [(label, row) for label, row in zip(distinct.tolist(), first.tolist(), strict=True)
                       if label not in found]  # fmt: skip
                classes = task == "classification" or isinstance(table.columns[names[0]], Text)
                if len(names) > 1 or len(found) + len(new) > (_MOST_LABELS if classes else _MOST_CLASSES):
                    found, witnesses = None, []
                    for drawn in firsts.values():
                        counts[TRAIN] -= 1
                        counts[drawn] += 1
                    firsts.clear()
            if found is not None:
                for label, row in new:
                    found[label] = np.zeros(len(PARTS), np.int64)
                    firsts[int(numbers[row])] = int(which[row])
                    which[row] = TRAIN
                    witnesses.append((table.take(np.array([row])), which[[row]]))
                for label, each in zip(distinct.tolist(), _counts(place, which, len(distinct)), strict=True):
                    found[label] += each
            for name in names:
                _widen(extremes, table, name, which)
            for name, column in table.columns.items():
                if name not in names and ranges.get(name, (0, 0)) is not None:
                    ranges[name] = _range(column, ranges.get(name))
            counts += np.bincount(which, minlength=len(PARTS))
            sample.add((table, which), len(table))
            bar.update(len(table))
    total = int(counts.sum())
    chosen = sample.parts() + witnesses + [(table, which) for _, table, which in extremes.values()]
    which = np.concatenate([w for _, w in chosen])
    numbering = [name for name, span in ranges.items() if span is not None and span[1] - span[0] == total - 1]
    return Survey(
        joined([t for t, _ in chosen], chosen[0][0].source),
        np.flatnonzero(which != TEST),
        counts,
        found,
        frozenset(firsts),
        tuple(numbering),
    )


def numbered(
    data: Data, target: Sequence[str] | None, *, drop_missing: bool, records: int
) -> Iterator[tuple[Table, npt.NDArray[np.int64]]]:
    """Yield a table in parts that are not empty, and the number of each record in the whole.

    Raises
    ------
    InputError
        Where there are no records.
    """
    done, kept = 0, 0
    for part in parts(data, records):
        numbers, table = np.arange(done, done + len(part)), part
        done += len(part)
        if drop_missing:
            gaps = [gaps_of(part.columns[name]) for name in target or part.targets if name in part.columns]
            rows = ~np.any(gaps, axis=0) if gaps else np.ones(len(part), bool)
            table, numbers = (part, numbers) if rows.all() else (part.take(rows), numbers[rows])
        if len(table):
            kept += len(table)
            yield table, numbers
    if not kept:
        raise InputError("the data have no records to learn from")


def _counts(place: Array, which: Array, count: int) -> Array:
    size = len(PARTS)
    return np.bincount(place.reshape(-1) * size + which, minlength=count * size).reshape(count, size)


def _widen(extremes: dict[tuple[str, bool], tuple[float, Table, Array]], table: Table, name: str, which: Array) -> None:
    """Keep the record with the lowest and that with the highest number of a target."""
    column = table.columns[name]
    values = column.numbers() if isinstance(column, Text) else column
    if np.isnan(values).all():
        return
    for high in (False, True):
        row = int(np.nanargmax(values if high else -values))
        best = extremes.get((name, high))
        if best is None or (values[row] > best[0] if high else values[row] < best[0]):
            rows = np.array([row])
            extremes[name, high] = float(values[row]), table.take(rows), which[rows]


def _range(column: Any, before: tuple[float, float] | None) -> tuple[float, float] | None:
    """Return the lowest and the highest of a column, with what came before; None unless all are whole numbers."""
    if isinstance(column, Text) or not np.all(column == np.round(column)):
        return None
    low, high = float(column.min()), float(column.max())
    return (low, high) if before is None else (min(low, before[0]), max(high, before[1]))


class _Writer:
    """Writes an array of so many records to an NPY file as its rows come; `like` are some of them.

    ``left`` is how many have not come yet.
    """

    def __init__(self, path: Path, records: int, like: Array) -> None:
        self.left = records
        self._file = path.open("wb")
        header = {"descr": like.dtype.str, "fortran_order": False, "shape": (records, *like.shape[1:])}
        np.lib.format.write_array_header_2_0(self._file, header)

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, rows: Array) -> None:
        self._file.write(np.ascontiguousarray(rows).data)
        self.left -= len(rows)


@dataclass(frozen=True)
class Converted:
    """A folder of prepared records: for each of `PARTS` that has some, the files that `path` names."""

    folder: Path

    def path(self, part: str, what: str) -> Path:
        return self.folder / f"{part}-{what}.npy"


@contextmanager
def converted(
    data: Data,
    target: Sequence[str] | None,
    found: Survey,
    draw: Draw,
    prepare: Callable[[Table], dict[str, Array]],
    record_bytes: int,
    *,
    drop_missing: bool,
    records: int,
) -> Iterator[Converted]:
    """Write what `prepare` makes of a table's records to a folder of the cache, which is removed in the end.

    Parameters
    ----------
    prepare
        Returns for some records the arrays to be kept, by name.
    record_bytes
        About what a record will take.

    Raises
    ------
    FileError
        Where there is not enough room on the disk, it cannot be written, or the data are changed.
    """
    parent = cache_folder() / "tables"
    if (problem := unusable(parent)) is not None:
        raise FileError(f"the cache {parent} {problem}; set GDKERNELS_CACHE to a folder of your own")
    _remove_left_behind(parent)
    need, free = int(found.counts.sum()) * record_bytes + _SPARE, shutil.disk_usage(parent).free
    if need > free:
        raise FileError(
            f"the prepared records need {gigabytes(need)} in {parent}, where {gigabytes(free)} are free; make some "
            "room, or set GDKERNELS_CACHE to a folder on another disk"
        )
    folder = Converted(parent / f"{os.getpid()}-{os.urandom(4).hex()}")
    try:
        folder.folder.mkdir(mode=0o700)
        with phase("preparing"):
            _write(folder, numbered(data, target, drop_missing=drop_missing, records=records), found, draw, prepare)
        yield folder
    except OSError as error:
        raise FileError(f"cannot write {folder.folder}: {(error.strerror or str(error)).lower()}") from error
    finally:
        shutil.rmtree(folder.folder, ignore_errors=True)


def _write(
    folder: Converted,
    tables: Iterator[tuple[Table, npt.NDArray[np.int64]]],
    found: Survey,
    draw: Draw,
    prepare: Callable[[Table], dict[str, Array]],
) -> None:
    writers: dict[tuple[int, str], _Writer] = {}
    with ExitStack() as stack, RecordCount("preparing") as bar:
        for table, numbers in tables:
            which = draw.of(int(numbers[0]), int(numbers[-1] - numbers[0]) + 1)[numbers - numbers[0]]
            which[np.isin(numbers, list(found.firsts))] = TRAIN
            for what, array in prepare(table).items():
                for k, part in enumerate(PARTS):
                    rows = array[which == k]
                    if len(rows):
                        if (k, what) not in writers:
                            path = folder.path(part, what)
                            writers[k, what] = stack.enter_context(_Writer(path, int(found.counts[k]), rows))
                        writers[k, what].append(rows)
            bar.update(len(table))
    if any(writer.left for writer in writers.values()):
        raise FileError("the data were changed while they were read; start again with files that stay as they are")


def _remove_left_behind(parent: Path) -> None:
    """Remove the folders of processes that ended without doing so."""
    for folder in parent.iterdir():
        owner = folder.name.split("-")[0]
        with suppress(ValueError, PermissionError):
            try:
                os.kill(int(owner), 0)
            except ProcessLookupError:
                shutil.rmtree(folder, ignore_errors=True)
