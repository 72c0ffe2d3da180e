"""Where arrays are in memory, as compiled code asks for it."""

import ctypes
from typing import Any

import numpy.typing as npt

__all__ = ["address_of"]


def address_of(array: npt.NDArray[Any]) -> int:
    """Return where an array begins, which NumPy tells in eight times the time."""
    try:
        return ctypes.addressof(ctypes.c_char.from_buffer(array.data))
    except (TypeError, ValueError):  # it may not be written, or it is empty or has gaps
        return int(array.ctypes.data)
