"""Values of JSON with arrays beside them, as bytes: for what one process tells another."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["packed", "unpacked"]

_LENGTH = 8  # bytes of the number that says how long the text is


def packed(told: Any, arrays: Sequence[npt.NDArray[Any]]) -> bytes:
    """Return JSON and arrays of numbers as bytes."""
    head = json.dumps([told, [[a.dtype.str, list(a.shape)] for a in arrays]]).encode()
    return b"".join([len(head).to_bytes(_LENGTH, "little"), head, *(a.tobytes() for a in arrays)])


def unpacked(data: bytes) -> tuple[Any, list[npt.NDArray[Any]]]:
    """Return what `packed` was given."""
    at = _LENGTH + int.from_bytes(data[:_LENGTH], "little")
    told, kinds = json.loads(data[_LENGTH:at])
    arrays = []
    for dtype, shape in kinds:
        array = np.empty(shape, dtype)
        array.reshape(-1).view(np.uint8)[:] = np.frombuffer(data, np.uint8, array.nbytes, at)
        arrays.append(array)
        at += array.nbytes
    return told, arrays
