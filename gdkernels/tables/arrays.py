"""Tables from NumPy's own files, NPY and NPZ; nothing is ever unpickled."""

from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import numpy.typing as npt

from gdkernels.errors import InputError
from gdkernels.tables.table import Floats, Table, missing_target, take_target

__all__ = ["read_npy", "read_npz"]


def read_npy(path: Path, target: str | None) -> Table:
    """Return the table of one array [records, columns], of which the column number `target` is to be predicted."""
    array = _numbers(_load(path), "its array", str(path))
    if array.ndim != 2:
        raise InputError(f"{path} must hold an array [records, columns], not one of shape {list(array.shape)}")
    names = [str(k) for k in range(array.shape[1])]
    try:
        number = range(array.shape[1])[int(target or "")]
    except (ValueError, IndexError):
        listed = [f"0 to {len(names) - 1}"] if names else ["no columns"]
        raise missing_target(target, listed, str(path)) from None
    _check_finite(array, "its array", str(path))
    return take_target(array, names, str(number), str(path))


def read_npz(path: Path, target: str | None) -> Table:
    """Return the table of the arrays X [records, columns] and Y [records] or [records, outputs]."""
    if target is not None:
        raise InputError(f"{path} brings what is to be predicted as Y; leave out --target")
    file = _load(path)
    if not {"X", "Y"} <= set(file):
        raise InputError(f"{path} must hold the arrays X and Y; it holds {', '.join(sorted(file)) or 'none'}")
    x, y = (_numbers(file[key], key, str(path)) for key in ("X", "Y"))
    if x.ndim != 2:
        raise InputError(f"X in {path} must have the shape [records, columns], not {list(x.shape)}")
    if y.ndim not in (1, 2) or y.shape[1:] == (0,):
        raise InputError(f"Y in {path} must have the shape [records] or [records, outputs], not {list(y.shape)}")
    if len(x) != len(y):
        raise InputError(f"X and Y in {path} must have as many records: X has {len(x):,}, Y has {len(y):,}")
    _check_finite(x, "X", str(path))
    _check_finite(y, "Y", str(path))
    names = tuple(str(k) for k in range(x.shape[1]))
    return Table(x, y[:, 0] if y.shape[1:] == (1,) else y, names, "Y", str(path))


def _load(path: Path) -> Any:
    """Return the array of an NPY file, or those of an NPZ file by name."""
    try:
        with path.open("rb") as file:
            if file.read(2) != b"PK":
                file.seek(0)
                return np.lib.format.read_array(file, allow_pickle=False)
        with ZipFile(path) as archive:
            found: dict[str, Any] = {}
            for name in archive.namelist():
                if name in ("X.npy", "Y.npy"):
                    with archive.open(name) as member:
                        found[name[0]] = np.lib.format.read_array(member, allow_pickle=False)
                else:
                    found[name.removesuffix(".npy")] = None
            return found
    except MemoryError:
        raise
    except Exception as error:  # from the depths of NumPy, zipfile, zlib and tokenize comes anything for damaged bytes
        reason = "; only numbers can be read" if "allow_pickle" in str(error) else ""
        what = "it holds Python objects" if reason else f"it is damaged ({' '.join(str(error).split())})"
        raise InputError(f"cannot read {path}: {what}{reason}") from None


def _numbers(array: npt.NDArray[Any], what: str, source: str) -> Floats:
    if array.dtype.kind not in "fiub":
        raise InputError(f"{what} in {source} must hold numbers, not {array.dtype}")
    return np.asarray(array, np.float64)


def _check_finite(array: Floats, what: str, source: str) -> None:
    """Refuse a value that is not finite, naming the first."""
    wrong = ~np.isfinite(array)
    if wrong.any():
        place = np.unravel_index(int(np.argmax(wrong)), array.shape)
        raise InputError(
            f"{what} in {source} has the value {array[place]} at [{', '.join(map(str, place))}], the first of "
            f"{np.count_nonzero(wrong):,} that are not finite; remove or replace them"
        )
