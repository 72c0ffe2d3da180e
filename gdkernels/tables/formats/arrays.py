"""Tables from NumPy's own files, NPY and NPZ; nothing is ever unpickled."""

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any
from zipfile import ZipFile

import numpy as np
import numpy.typing as npt

from gdkernels.errors import InputError
from gdkernels.files.arrays import Rows, members_of, rows_of
from gdkernels.system import memory
from gdkernels.system.memory import gigabytes
from gdkernels.tables.cells.cells import Cells
from gdkernels.tables.column.column_data import Column, Floats, Text
from gdkernels.tables.table.table import UnreadTable

__all__ = ["read_npy", "read_npz"]

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_PART_BYTES = 256 << 20  # of a part, whatever number of records is asked for
_COPIES = 16  # bytes of a value in float64, as it was read and by columns
_LONGEST_HEADER = 10_000  # bytes; NumPy itself takes no more, but reads them all before
_DEFLATED = 1100  # bytes that one compressed byte can become, and a few more: the format's limit is 1032


def read_npy(path: Path, records: int) -> Iterator[UnreadTable]:
    """Yield the table of one array [records, columns], whose columns are numbered from 0, in parts of so many."""
    rows = _rows(path)
    if rows is not None and len(rows.shape) == 2:
        records = _within(records, rows.shape[1])
    if rows is not None and len(rows.shape) == 2 and rows.shape[0] > records:
        for first in range(0, rows.shape[0], records):
            part = _numbers(rows.read(first, min(rows.shape[0], first + records)), "its array", str(path))
            yield UnreadTable(_columns(part, ""), str(path), first=first)
        return
    array = _numbers(_load(path), "its array", str(path))
    if array.ndim != 2:
        raise InputError(f"{path} must hold an array [records, columns], not one of shape {list(array.shape)}")
    yield UnreadTable(_columns(array, ""), str(path))


def read_npz(path: Path, records: int) -> Iterator[UnreadTable]:
    """Yield the table of the arrays X [records, columns] and, to be predicted, Y [records] or [records, outputs].

    One-hot rows of Y become one column of classes, the positions of their ones, as text. A compressed file is read
    whole, another in parts of so many records.
    """
    try:
        members = members_of(path)
    except InputError:  # compressed, or damaged: what is wrong with it is said below
        members = {}
    if {"X", "Y"} <= set(members):
        x, y = members["X"], members["Y"]
        records = _within(records, math.prod(x.shape[1:]) + math.prod(y.shape[1:]))
        if len(x.shape) == 2 and x.shape[0] > records and x.shape[0] == y.shape[0] and y.shape[1:] != (0,):
            bounds = [(first, min(x.shape[0], first + records)) for first in range(0, x.shape[0], records)]
            hot = len(y.shape) > 1 and y.shape[1] > 1 and all(_one_hot(y.read(*b)) for b in bounds)
            for first, stop in bounds:
                inputs = _numbers(x.read(first, stop), "X", str(path))
                targets = _targets(_numbers(y.read(first, stop), "Y", str(path)), hot=hot)
                yield UnreadTable(_columns(inputs, "") | targets, str(path), tuple(targets), first)
            return
    yield _whole(path)


def _within(records: int, columns: int) -> int:
    """Return how many records make a part of at most `records`, and of bounded bytes."""
    return min(records, max(1, _PART_BYTES // ((8 + _COPIES) * max(1, columns))))


def _whole(path: Path) -> UnreadTable:
    file = _load(path)
    if "X" not in file:
        raise InputError(
            f"{path} must hold the arrays X and Y; it holds {', '.join(map(repr, sorted(file))) or 'none'}"
        )
    x = _numbers(file["X"], "X", str(path))
    if x.ndim != 2:
        raise InputError(f"X in {path} must have the shape [records, columns], not {list(x.shape)}")
    if "Y" not in file:
        return UnreadTable(_columns(x, ""), str(path))
    y = _numbers(file["Y"], "Y", str(path))
    if y.ndim not in (1, 2) or y.shape[1:] == (0,):
        raise InputError(f"Y in {path} must have the shape [records] or [records, outputs], not {list(y.shape)}")
    if len(x) != len(y):
        raise InputError(f"X and Y in {path} must have the same number of records: X has {len(x):,}, Y has {len(y):,}")
    targets = _targets(y, hot=y.ndim > 1 and y.shape[1] > 1 and _one_hot(y))
    return UnreadTable(_columns(x, "") | targets, str(path), tuple(targets))


def _one_hot(y: npt.NDArray[Any]) -> bool:
    return bool(np.all((y == 0) | (y == 1)) and np.all(y.sum(axis=1) == 1))


def _targets(y: Floats, *, hot: bool) -> dict[str, Column | Cells]:
    if y.ndim == 1 or y.shape[1] == 1:
        return {"Y": y.reshape(-1)}
    if hot:
        return {"Y": Text(np.argmax(y, axis=1).astype(np.int32), tuple(map(str, range(y.shape[1]))))}
    return _columns(y, "Y")


def _rows(path: Path) -> Rows | None:
    """Return the rows of an NPY file, or None where something is wrong with it."""
    try:
        return rows_of(path, "its array")
    except InputError:
        return None


def _columns(array: Floats, prefix: str) -> dict[str, Column | Cells]:
    return {f"{prefix}{k}": np.ascontiguousarray(array[:, k]) for k in range(array.shape[1])}


def _load(path: Path) -> Any:
    """Return the array of an NPY file, or those of an NPZ file by name."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            if file.read(2) != b"PK":
                return _array(file, size, path)
        with ZipFile(path) as archive:
            found: dict[str, Any] = {}
            for name in archive.namelist():
                if name in ("X.npy", "Y.npy"):
                    member = archive.getinfo(name)
                    most = min(member.file_size, _DEFLATED * min(member.compress_size, size))
                    with archive.open(name) as file:
                        found[name[0]] = _array(file, most, path)
                else:
                    found[name.removesuffix(".npy")] = None
            return found
    except (MemoryError, InputError):
        raise
    except Exception as error:  # from the depths of NumPy, zipfile, zlib and tokenize comes anything for damaged bytes
        reason = "; only numbers can be read" if "allow_pickle" in str(error) else ""
        what = "it holds Python objects" if reason else f"it is damaged ({' '.join(str(error).split())})"
        raise InputError(f"cannot read {path}: {what}{reason}") from None


def _array(file: IO[bytes], size: int, path: Path) -> npt.NDArray[Any]:
    """Return the array in `file`, unless its header tells of more than `size` bytes: no memory is asked for those.

    Raises
    ------
    InputError
        If it needs more memory than there is; a few compressed bytes can become any number.
    """
    file.seek(0)
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"its version is {version}")
    width = 2 if version == (1, 0) else 4
    if (length := int.from_bytes(file.read(width), "little")) > _LONGEST_HEADER:
        raise ValueError(f"its header has {length:,} bytes")
    file.seek(-width, os.SEEK_CUR)
    shape, _, dtype = _HEADERS[version](file)
    values = math.prod(shape)
    if values * dtype.itemsize > size:
        raise ValueError(f"its header tells of {values:,} values, for which it is too short")
    needed, room = values * (dtype.itemsize + _COPIES), memory.room()
    if room is not None and needed > room.bytes:
        raise InputError(
            f"cannot read {path}: an array of {values:,} values takes {gigabytes(needed)} on its way to a table, but "
            f"only {room} is available; save it with numpy.save, or with numpy.savez, which does not compress: then it "
            "is read in parts"
        )
    file.seek(0)
    return np.lib.format.read_array(file, allow_pickle=False)


def _numbers(array: npt.NDArray[Any], what: str, source: str) -> Floats:
    if array.dtype.kind not in "fiub":
        raise InputError(f"{what} in {source} must hold numbers, not {array.dtype}")
    with np.errstate(all="ignore"):  # what a damaged file holds may be no number
        return np.asarray(array, np.float64)
