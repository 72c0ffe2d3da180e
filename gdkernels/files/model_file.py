"""Model files: safetensors, with everything else as JSON under one metadata key.

Any safetensors reader opens them; nothing in them is ever executed or unpickled.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np
import numpy.typing as npt

from gdkernels.errors import FileError, InputError
from gdkernels.system.atomic_files import write_atomically
from gdkernels.system.given import checked_path
from gdkernels.system.hashing import sha256
from gdkernels.system.strict_json import loads

__all__ = ["read_model", "write_model"]

KEY = "gdkernels"
VERSION = 1

# The format's own limit: a greater length is no header, and must not be read into memory to find that out.
_LARGEST_HEADER = 100_000_000
_DTYPES = {"float16": "F16", "float32": "F32", "float64": "F64", "int32": "I32", "int64": "I64", "bool": "BOOL"}
_AGAIN = "; get the original again"

Tensors = dict[str, npt.NDArray[Any]]


def write_model(
    path: str | os.PathLike[str],
    tensors: Mapping[str, npt.NDArray[Any]],
    metadata: Mapping[str, Any],
    *,
    overwrite: bool = False,
    through_links: bool = True,
) -> None:
    """Write `tensors` and `metadata` to `path`, whole or not at all.

    Parameters
    ----------
    tensors
        NumPy arrays by name.
    metadata
        Anything that JSON can hold.
    overwrite
        Whether a file that exists already is replaced.
    through_links
        As for `write_atomically`.

    Raises
    ------
    FileError
        If the file exists already and `overwrite` is false, or it cannot be written; nothing is left behind.
    InputError
        If a tensor or the metadata cannot be represented.
    """
    from safetensors.numpy import save

    arrays: Tensors = {}
    for name, tensor in tensors.items():
        if tensor.dtype.name not in _DTYPES:
            raise InputError(f"tensor {name!r} of dtype {tensor.dtype} cannot be written to a model file")
        # The format is little-endian and contiguous; asarray, as ascontiguousarray would give a scalar a dimension.
        arrays[name] = np.asarray(tensor, dtype=tensor.dtype.newbyteorder("<"), order="C")
    try:
        description = json.loads(json.dumps(metadata, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"the metadata of {os.fspath(path)} cannot be written as JSON: {error}") from None
    file = memoryview(save(arrays))
    start = 8 + int.from_bytes(file[:8], "little")
    header = json.loads(bytes(file[8:start]))
    content = {
        "version": VERSION,
        "sha256": sha256(file[start:]).hexdigest(),
        "description_sha256": _description_digest(arrays, description),
        "metadata": description,
    }
    # The digest has to be known before the header can be written: the library's header, with one more key.
    text = json.dumps({"__metadata__": {KEY: json.dumps(content)}, **header}).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > _LARGEST_HEADER:
        raise InputError(
            f"the metadata of {os.fspath(path)} are {len(text):,} bytes, and the format allows {_LARGEST_HEADER:,}"
        )

    def write(to: BinaryIO) -> None:
        to.write(len(text).to_bytes(8, "little"))
        to.write(text)
        to.write(file[start:])

    write_atomically(path, write, overwrite=overwrite, through_links=through_links)


def read_model(path: str | os.PathLike[str]) -> tuple[Tensors, dict[str, Any]]:
    """Return the tensors and the metadata of the model file `path`.

    Raises
    ------
    FileError
        If there is no such file, or it is truncated, altered, of another format or of a newer version.
    """
    start, data = _read(path)
    content = _content(path, data[8:start])
    if sha256(memoryview(data)[start:]).hexdigest() != content.get("sha256"):
        _refuse(path, f"its tensors were altered after it was written (the SHA-256 differs){_AGAIN}")

    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors: Tensors = load(data)
    # KeyError and the like: a dtype that NumPy lacks. None of it can come from a file that write_model wrote.
    except (SafetensorError, KeyError, TypeError, ValueError, AttributeError) as error:
        _refuse(path, f"its tensors cannot be read ({error}){_AGAIN}")
    metadata = content.get("metadata")
    try:
        sound = isinstance(metadata, dict) and _description_digest(tensors, metadata) == content["description_sha256"]
    except (LookupError, RecursionError):
        sound = False
    if not sound or not isinstance(metadata, dict):
        _refuse(path, f"its description was altered after it was written (the SHA-256 differs){_AGAIN}")
    return tensors, metadata


def _read(path: str | os.PathLike[str]) -> tuple[int, bytes]:
    """Return where the tensors start, and the whole file, which is not read unless its header agrees with its size."""
    if not checked_path("path", path):
        raise FileError("the name of the model to read is empty; give its file")
    try:
        if Path(path).exists() and not Path(path).is_file():
            _refuse(path, "it is not a file but a folder or a device")
        with Path(path).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            length = file.read(8)
            if not length:
                _refuse(path, f"it is empty{_AGAIN}")
            start = 8 + int.from_bytes(length, "little")
            # A cut-off file keeps its beginning, so one that does not begin like a model file never was one.
            if start > 8 + _LARGEST_HEADER or file.read(1) not in (b"{", b""):
                _refuse(path, "it is not a gdkernels model file (safetensors)")
            if size < max(start, 9):
                _refuse(path, f"it is cut short, after {size:,} bytes{_AGAIN}")
            file.seek(8)
            whole = start + _data_size(path, file.read(start - 8))
            if size != whole:
                what = "is cut short" if size < whole else "has something appended"
                _refuse(path, f"it {what}, {size:,} bytes instead of {whole:,}{_AGAIN}")
            file.seek(0)
            return start, file.read()
    except FileNotFoundError:
        _refuse(path, "there is no such file")
    except OSError as error:
        _refuse(path, (error.strerror or str(error)).lower())
    except MemoryError:
        _refuse(path, "it does not fit into memory")


def _data_size(path: str | os.PathLike[str], text: bytes) -> int:
    try:
        tensors = (entry for name, entry in loads(text).items() if name != "__metadata__")
        return max((int(entry["data_offsets"][1]) for entry in tensors), default=0)
    # A header can be any JSON: nested a million deep, with numbers where texts belong.
    except (ValueError, TypeError, LookupError, AttributeError):
        _refuse(path, f"it is not a gdkernels model file (safetensors), or its header was altered{_AGAIN}")


def _content(path: str | os.PathLike[str], text: bytes) -> dict[str, Any]:
    """Return what the metadata key of the header `text` holds."""
    try:
        metadata = loads(text).get("__metadata__", {})
        content = loads(metadata[KEY]) if KEY in metadata else None
        version = content["version"] if content is not None else None
    except (ValueError, TypeError, LookupError, AttributeError):
        _refuse(path, f"its metadata were altered{_AGAIN}")
    if content is None:
        _refuse(path, f"it is a safetensors file of something else, without the metadata {KEY!r}")
    if not isinstance(version, int) or not 1 <= version <= VERSION:
        _refuse(
            path,
            f"its format version is {version!r} and this gdkernels reads up to {VERSION}; "
            "run `pip install --upgrade gdkernels`",
        )
    return dict(content)


def _description_digest(tensors: Tensors, metadata: Mapping[str, Any]) -> str:
    """Return the SHA-256 of all that is not tensor bytes, so that a changed shape or setting is noticed as well."""
    shapes = {name: [_DTYPES.get(t.dtype.name), list(t.shape)] for name, t in tensors.items()}
    return sha256(json.dumps([shapes, metadata], sort_keys=True).encode()).hexdigest()


def _refuse(path: str | os.PathLike[str], reason: str) -> NoReturn:
    raise FileError(f"cannot read the model {os.fspath(path)}: {reason}")
