"""Reading a table from a file or a built-in data set."""

import os
from pathlib import Path

from gdkernels.errors import FileError, InputError
from gdkernels.tables.arrays import read_npy, read_npz
from gdkernels.tables.builtin import BUILT_IN, read_built_in
from gdkernels.tables.table import Table
from gdkernels.tables.text import read_text

__all__ = ["read_table"]


def read_table(data: str | os.PathLike[str], target: str | None = None) -> Table:
    """Return the records of `data`, told apart by content: NPY, NPZ, or CSV with a header.

    Parameters
    ----------
    data
        A file, or the name of a built-in data set; ``./digits`` is a file of that name.
    target
        The column to be predicted: its name in a CSV file, its number in an NPY file, from 0 or, from the end, −1. Left
        out for NPZ files, which bring their targets as Y, and for built-in data sets.

    Raises
    ------
    FileError
        Where the file cannot be read.
    InputError
        Where its content cannot be used; the message names the place.
    """
    name = os.fspath(data)
    if name in BUILT_IN:
        if target is not None and target != BUILT_IN[name][0]:
            raise InputError(f"the built-in data set {name!r} predicts {BUILT_IN[name][0]!r}; leave out --target")
        return read_built_in(name)
    path = Path(name)
    try:
        if path.exists() and not path.is_file():
            raise FileError(f"cannot read {name}: it is not a file but a folder or a device")
        with path.open("rb") as file:
            start = file.read(8)
    except FileNotFoundError:
        raise FileError(
            f"there is no file {name}, and the built-in data sets are {' and '.join(sorted(BUILT_IN))}"
        ) from None
    except OSError as error:
        raise FileError(f"cannot read {name}: {(error.strerror or str(error)).lower()}") from error
    if not start:
        raise InputError(f"{name} is empty")
    try:
        if start.startswith(b"\x93NUMPY"):
            return read_npy(path, target)
        if start.startswith(b"PK"):
            return read_npz(path, target)
        return read_text(path, target)
    except MemoryError:
        raise InputError(f"{name} does not fit into memory") from None
