"""Arrays that do not fit on the device: they stay in pinned memory of the host, where the device reads them itself."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["fits", "is_on_host", "keep_on_host"]

_SHARE = 0.6  # of what is free, for one array: the rest is for others, for parameters and for the work


def fits(size: int, free: int) -> bool:
    """Return whether an array of so many bytes belongs on the device."""
    return size <= _SHARE * free


def keep_on_host(x: npt.NDArray[Any], number: int) -> Any:
    """Return a CuPy array of a GPU with the values of `x`, in the host's memory: kernels read it over the bus."""
    import cupy

    x = np.ascontiguousarray(x)
    block = cupy.cuda.alloc_pinned_memory(x.nbytes)
    ctypes.memmove(block.ptr, x.ctypes.data, x.nbytes)
    memory = cupy.cuda.UnownedMemory(block.ptr, x.nbytes, block, number)
    return cupy.ndarray(x.shape, x.dtype, cupy.cuda.MemoryPointer(memory, 0))


def is_on_host(a: Any) -> bool:
    """Return whether the values of a CuPy array are in the host's memory."""
    import cupy

    runtime = cupy.cuda.runtime
    return bool(runtime.pointerGetAttributes(a.data.ptr).type == runtime.memoryTypeHost)
