"""Rows of arrays that lie in files, read as they are asked for: NPY, the members of NPZ, memory maps.

They are read, not mapped: what is mapped counts as this process's memory, and ends it where the file is cut short.
"""

from __future__ import annotations

import os
import struct
import weakref
from collections.abc import Sequence
from itertools import accumulate
from mmap import ALLOCATIONGRANULARITY, mmap
from operator import mul
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from gdkernels.errors import FileError, InputError

__all__ = ["Bounds", "FileRows", "HostRows", "Rows", "map_behind", "members_of", "rows_of"]

Array = npt.NDArray[Any]
Bounds = Sequence[tuple[int, int]]


class Rows(Protocol):
    """An array [records, …] of which some rows at a time are in memory; `name` is what messages call it."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def read(self, start: int, stop: int) -> Array:
        """Return the rows from `start` to `stop`, [stop − start, …]."""

    def gather(self, bounds: Bounds, into: Array | None = None) -> Array:
        """Return the rows within several bounds, one behind the other: `into` itself where they can be put there."""

    def expect(self, bounds: Bounds) -> None:
        """Say which rows will be read next."""


class HostRows:
    """Rows of an array that is in memory already."""

    def __init__(self, array: Array, name: str) -> None:
        self._array, self.name = array, name
        self.shape, self.dtype = array.shape, array.dtype

    def read(self, start: int, stop: int) -> Array:
        return self._array[start:stop]

    def gather(self, bounds: Bounds, into: Array | None = None) -> Array:
        return np.concatenate([self._array[start:stop] for start, stop in bounds])

    def expect(self, bounds: Bounds) -> None:
        pass


class FileRows:
    """Rows of an array in a file.

    Parameters
    ----------
    path, offset
        The file, and where in it the first number is.
    dtype, shape, strides
        As for a NumPy array.

    Raises
    ------
    FileError
        If the file cannot be read, or is too short for the array.
    InputError
        If it holds something other than numbers.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        offset: int,
        dtype: np.dtype[Any],
        shape: tuple[int, ...],
        strides: tuple[int, ...],
        name: str,
    ) -> None:
        self.name, self.dtype, self.shape = name, dtype, shape
        self._path, self._offset, self._strides = Path(path), offset, strides
        self._row = dtype.itemsize * (shape[1] if len(shape) > 1 else 1)
        if dtype.kind not in "biuf":
            raise InputError(f"{name} holds {dtype} values, not real numbers; encode text and categories first")
        if len(shape) not in (1, 2) or min(*shape, *strides) < 0:
            raise InputError(f"{name} must have the shape [records] or [records, columns], not {list(shape)}")
        try:
            self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise FileError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
        weakref.finalize(self, os.close, self._file)
        self._seen = self._state()
        needed = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) + dtype.itemsize
        if 0 not in shape and self._seen[0] < needed:
            raise FileError(f"cannot read {path}: it is cut short: {self._seen[0]:,} of {needed:,} bytes are there")

    def read(self, start: int, stop: int) -> Array:
        """Return the rows from `start` to `stop`.

        Raises
        ------
        FileError
            If the file was changed or truncated after it was opened.
        """
        found = self._read(start, stop)
        self._check_unchanged()
        return found

    def gather(self, bounds: Bounds, into: Array | None = None) -> Array:
        """Return the rows within several bounds, as `Rows.gather`.

        Raises
        ------
        FileError
            As `read`.
        """
        if not self._by_rows:
            found = np.concatenate([self._read(*each) for each in bounds])
        else:
            count = sum(stop - start for start, stop in bounds)
            wanted = (self.dtype, (count, *self.shape[1:]))
            fits = into is not None and (into.dtype, into.shape) == wanted and into.flags.c_contiguous
            found = into if fits and into is not None else np.empty(wanted[1], self.dtype)
            buffer, done = found.reshape(-1).view(np.uint8).data, 0
            for start, stop in bounds:
                self._fill(buffer[done : (done := done + (stop - start) * self._row)], start * self._row)
        self._check_unchanged()
        return found

    def expect(self, bounds: Bounds) -> None:
        """Have the system fetch rows from the disk, many at once, where it can be asked to."""
        if hasattr(os, "posix_fadvise") and self._by_rows:
            for start, stop in bounds:
                at, length = self._offset + start * self._row, (stop - start) * self._row
                os.posix_fadvise(self._file, at, length, os.POSIX_FADV_WILLNEED)

    @property
    def _by_rows(self) -> bool:
        """Whether rows lie one behind the other."""
        return self._strides == (self._row, self.dtype.itemsize)[: len(self.shape)]

    def _read(self, start: int, stop: int) -> Array:
        count, (step, *across) = stop - start, self._strides
        columns = self.shape[1] if across else 1
        if across and across[0] > step:  # columns lie one behind the other
            found = np.empty((count, columns), self.dtype, order="F")
            for k in range(columns):
                found[:, k] = self._spread(k * across[0] + start * step, (count,), (step,))
        else:
            found = self._spread(start * step, (count, *self.shape[1:]), self._strides)
        return found

    def _spread(self, start: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> Array:
        length = sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) + self.dtype.itemsize
        buffer = np.empty(length, np.uint8)
        self._fill(buffer.data, start)
        return np.ndarray(shape, self.dtype, buffer, 0, strides)

    def _fill(self, buffer: memoryview, start: int) -> None:
        """Fill a buffer with the bytes from `start` on."""
        at = self._offset + start
        while (got := os.preadv(self._file, [buffer], at)) < len(buffer):  # one call reads at most 2 GiB
            if not got:
                raise FileError(f"{self._path} was cut short while it was read; start again with the whole file")
            buffer, at = buffer[got:], at + got

    def _check_unchanged(self) -> None:
        if self._state() != self._seen:
            raise FileError(f"{self._path} was changed while it was read; start again with a file that stays as it is")

    def _state(self) -> tuple[int, int]:
        now = os.fstat(self._file)
        return now.st_size, now.st_mtime_ns


def rows_of(value: Any, name: str) -> Rows:
    """Return the rows of a memory map, of the NPY file at a path, or of anything that NumPy takes.

    Raises
    ------
    FileError, InputError
        As for `FileRows`, and for a file of another kind.
    """
    if isinstance(value, (str, os.PathLike)):
        return _npy(Path(value), name)
    if isinstance(value, np.memmap) and value.filename is not None and (mapped := map_behind(value)) is not None:
        return _mapped(value, mapped, name)
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise InputError(f"{name} holds {array.dtype} values, not real numbers; encode text and categories first")
    return HostRows(array, name)


def members_of(path: str | os.PathLike[str]) -> dict[str, FileRows]:
    """Return the arrays of an NPZ file by name, read where they lie in it.

    Raises
    ------
    FileError
        If it cannot be read.
    InputError
        If it is compressed: then a row can be had only through all that come before.
    """
    from zipfile import ZIP_STORED, ZipFile

    try:
        with ZipFile(path) as archive, open(path, "rb") as file:
            found = {}
            for member in archive.infolist():
                name = member.filename.removesuffix(".npy")
                if member.compress_type != ZIP_STORED:
                    raise InputError(
                        f"{os.fspath(path)} is compressed, so its rows cannot be read one at a time; save it with "
                        "numpy.savez or as NPY, or train by gdkernels train, which reads it once"
                    )
                file.seek(member.header_offset + 26)
                file.seek(sum(struct.unpack("<HH", file.read(4))), os.SEEK_CUR)
                found[name] = _array_at(file, Path(path), f"{name} in {os.fspath(path)}")
            return found
    except InputError:
        raise
    except OSError as error:
        raise FileError(f"cannot read {os.fspath(path)}: {(error.strerror or str(error)).lower()}") from error
    except Exception as error:  # from zipfile comes anything for damaged bytes
        raise InputError(f"cannot read {os.fspath(path)}: it is no NPZ file, or damaged ({error})") from None


def _npy(path: Path, name: str) -> FileRows:
    try:
        with path.open("rb") as file:
            return _array_at(file, path, name)
    except OSError as error:
        raise FileError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error


def _array_at(file: Any, path: Path, name: str) -> FileRows:
    """Return the rows of the NPY array that begins where the file is."""
    try:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, columns_first, dtype = read(file)
    except Exception as error:  # from tokenize and ast comes anything for damaged bytes
        raise InputError(
            f"cannot read {path}: it is no NPY file, or damaged ({' '.join(str(error).split())})"
        ) from None
    # In Python's numbers: what a damaged header says may be larger than NumPy's.
    strides = list(accumulate([dtype.itemsize, *(shape if columns_first else shape[::-1])], mul))[: len(shape)]
    return FileRows(path, file.tell(), dtype, shape, tuple(strides if columns_first else strides[::-1]), name)


def map_behind(value: Any) -> mmap | None:
    """Return the map of a file that an array is, or is a part of; None where its numbers are in memory."""
    while isinstance(value, np.ndarray):
        value = value.base
    return value if isinstance(value, mmap) else None


def _mapped(value: np.memmap[Any, Any], mapped: mmap, name: str) -> FileRows:
    """Return the rows of a memory map, or of a part of one, from its file."""
    # A map begins at a multiple of the system's granularity, a little before what was asked for.
    begun = int(value.offset) - int(value.offset) % ALLOCATIONGRANULARITY
    ahead = value.ctypes.data - np.frombuffer(mapped, np.uint8).ctypes.data
    return FileRows(value.filename or "", begun + ahead, value.dtype, value.shape, value.strides, name)
