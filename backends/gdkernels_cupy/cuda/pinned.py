"""Arrays that do not fit on the device: they stay in pinned memory of the host, where the device reads them itself."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.errors import BackendError

__all__ = ["fits", "is_on_host", "keep_on_host"]

_SHARE = 0.6  # of what is free, for one array: the rest is for others, for parameters and for the work


def fits(size: int, free: int) -> bool:
    """Return whether an array of so many bytes belongs on the device."""
    return size <= _SHARE * free


def keep_on_host(x: npt.NDArray[Any], number: int) -> Any:
    """Return a CuPy array of a GPU with the values of `x`, in the host's memory: kernels read it over the bus.

    Raises
    ------
    BackendError
        Where the host's memory does not hold them a second time.
    """
    import cupy

    x = np.ascontiguousarray(x)
    runtime = cupy.cuda.runtime
    try:
        # Not from CuPy's pool, which takes a power of two, up to twice as much, and keeps it when it is freed.
        block = cupy.cuda.PinnedMemory(x.nbytes, runtime.hostAllocPortable)
    except runtime.CUDARuntimeError as error:
        raise BackendError(
            f"{x.nbytes / 1e9:.2f} GB fit neither on cuda:{number} nor, in pages that stay, into the host's memory "
            f"({error}): train from files, or on fewer records"
        ) from error
    ctypes.memmove(block.ptr, x.ctypes.data, x.nbytes)
    memory = cupy.cuda.UnownedMemory(block.ptr, x.nbytes, block, number)
    return cupy.ndarray(x.shape, x.dtype, cupy.cuda.MemoryPointer(memory, 0))


def is_on_host(a: Any) -> bool:
    """Return whether the values of a CuPy array are in the host's memory."""
    import cupy

    runtime = cupy.cuda.runtime
    return bool(runtime.pointerGetAttributes(a.data.ptr).type == runtime.memoryTypeHost)
