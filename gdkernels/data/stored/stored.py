"""`Stored`: records in files, as the user names them."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from gdkernels.errors import InputError
from gdkernels.files.arrays import Rows, map_behind, members_of, rows_of
from gdkernels.system.cached_property import cached_property
from gdkernels.system.hashing import sha256
from gdkernels.system.memory import parse_bytes

__all__ = ["Stored"]

_HASHED = 1 << 24  # bytes at a time


class Stored:
    """Records in files, which `fit` reads as it needs them: there may be more than fit into memory.

    Parameters
    ----------
    X, Y, sample_weight
        Each a file (NPY), a memory map, or an array; shapes as for `gdkernels.Trainer.epoch`. X alone is an NPZ file
        that is not compressed, with the arrays ``X``, ``Y`` and, if there are weights, ``sample_weight``.
    memory
        The memory that records may take at a time: "512MB", "2GiB", or bytes. None is 1 GB, or a quarter of the
        memory that this process may have if that is less. Training on records that need no more gives the bits that
        arrays give. The order of an epoch depends on it: set it if others should get the same bits.

    Raises
    ------
    FileError
        If a file cannot be read.
    InputError
        If files hold no numbers, or different numbers of records.
    """

    def __init__(self, X: Any, Y: Any = None, sample_weight: Any = None, *, memory: str | int | None = None) -> None:
        self.memory = None if memory is None else parse_bytes(memory)
        self.weights: Rows | None
        if Y is None:
            self.x, self.y, self.weights = _archive(X)
        else:
            self.x, self.y = rows_of(X, "X"), rows_of(Y, "Y")
            self.weights = None if sample_weight is None else rows_of(sample_weight, "sample_weight")
        for rows in (self.y, self.weights):
            if rows is not None and rows.shape[:1] != self.x.shape[:1]:
                raise InputError(f"{rows.name} has the shape {rows.shape}, but {self.x.name} has {len(self):,} rows")
        # The attributes of arrays by which a network finds its backend and its precision.
        self.shape, self.dtype = self.x.shape, self.x.dtype

    def __len__(self) -> int:
        return self.x.shape[0]

    def sample(self, records: int) -> tuple[Any, Any]:
        """Return about `records` records, spread over all of them: inputs and targets."""
        bounds = [(k, k + 1) for k in range(0, len(self), max(1, len(self) // records))]
        return self.x.gather(bounds), self.y.gather(bounds)

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of every byte of the records, which are read once for it."""
        found = sha256()
        for rows in (self.x, self.y, self.weights):
            found.update(repr(None if rows is None else (rows.dtype.str, rows.shape)).encode())
            if rows is not None:
                width = rows.dtype.itemsize * (rows.shape[1] if len(rows.shape) > 1 else 1)
                step = max(1, _HASHED // width)
                for start in range(0, len(self), step):
                    found.update(rows.read(start, min(len(self), start + step)).tobytes())
        return found.hexdigest()

    @classmethod
    def of(cls, X: Any, Y: Any, sample_weight: Any) -> Stored | None:
        """Return the records if they are in files; None if `X` is something else."""
        if isinstance(X, Stored):
            if Y is not None or sample_weight is not None:
                raise InputError("X is Stored, which has Y and sample_weight already; leave them out")
            return X
        if Y is not None and isinstance(X, np.memmap) and map_behind(X) is not None:
            return cls(X, Y, sample_weight)
        return None


def _archive(path: Any) -> tuple[Rows, Rows, Rows | None]:
    if not isinstance(path, (str, os.PathLike)):
        raise InputError(f"Y is missing, and X is no NPZ file but {type(path).__name__}")
    members = members_of(path)
    for name in ("X", "Y"):
        if name not in members:
            raise InputError(f"{os.fspath(path)} must hold the arrays X and Y; it holds {', '.join(sorted(members))}")
    return members["X"], members["Y"], members.get("sample_weight")
