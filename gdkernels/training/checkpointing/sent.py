"""A checkpoint that rank 0 has read, as the bytes that the other ranks get."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from gdkernels.files.model_file import Tensors

__all__ = ["Found", "in_bytes", "of_bytes"]

Found = tuple[Path, Tensors, dict[str, Any]]

_LENGTH = 8  # bytes of the length of the description


def in_bytes(found: Found | None) -> bytes:
    """Return a checkpoint as bytes; none are none."""
    if found is None:
        return b""
    from safetensors.numpy import save

    path, tensors, told = found
    description = json.dumps({"path": os.fspath(path), "told": told}).encode()
    return len(description).to_bytes(_LENGTH, "little") + description + save(tensors)


def of_bytes(data: bytes) -> Found | None:
    """Return the checkpoint that `in_bytes` had."""
    if not data:
        return None
    from safetensors.numpy import load

    stop = _LENGTH + int.from_bytes(data[:_LENGTH], "little")
    described = json.loads(data[_LENGTH:stop])
    return Path(described["path"]), load(data[stop:]), described["told"]
