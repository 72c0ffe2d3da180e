"""Errors of CUDA, its libraries and CuPy, as errors of gdkernels: a fit writes a checkpoint after no others."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from gdkernels.errors import BackendError

__all__ = ["DeviceFailedError", "DeviceMemoryError", "as_backend_errors", "last_line", "mark_used", "was_forked"]

# After these, every call of the process fails, whatever it asks for (CUDA runtime API, cudaError_t). The driver writes
# the same names as CUDA_ERROR_ILLEGAL_ADDRESS.
_STICKY = frozenset({
    "assert", "eccuncorrectable", "hardwarestackerror", "illegaladdress", "illegalinstruction", "invalidaddressspace",
    "invalidpc", "launchfailure", "launchfailed", "launchtimeout", "misalignedaddress", "nvlinkuncorrectable",
    "unknown",
})  # fmt: skip
_MEMORY = frozenset({"memoryallocation", "outofmemory"})
_FORKED = frozenset({"initializationerror", "notinitialized"})

# The packages whose errors these are.
_PACKAGES = ("cupy", "cupy_backends", "cuda")


class DeviceMemoryError(BackendError):
    """A device has too little free memory."""


class DeviceFailedError(BackendError):
    """A failure after which nothing works on the device in this process."""


@contextmanager
def as_backend_errors(device: str) -> Iterator[None]:
    """Within this context, turn errors of CUDA, its libraries and CuPy into a `BackendError`; others pass."""
    try:
        yield
    except BackendError:
        raise
    except Exception as error:
        if not _is_of_cuda(error):
            raise
        raise _translated(error, device) from error


def last_line(error: BaseException) -> str:
    """Return the last line of a message that says something."""
    lines = [line.strip() for line in str(error).splitlines()]
    return next((line for line in reversed(lines) if line.strip("=")), type(error).__name__)


def _is_of_cuda(error: Exception) -> bool:
    return any(kind.__module__.split(".")[0] in _PACKAGES for kind in type(error).__mro__)


def _translated(error: Exception, device: str) -> BackendError:
    said = f"{type(error).__name__}: {last_line(error)}"
    name = re.match(r"\s*(?:cudaError|CUDA_ERROR_)(\w+)", str(error))
    kind = name[1].replace("_", "").lower() if name else ""
    if isinstance(error, MemoryError) or kind in _MEMORY or type(error).__name__ == "OutOfMemoryError":
        return DeviceMemoryError(
            f"memory runs out on {device} ({said}): choose a smaller batch_size, or end what else uses the device"
        )
    if was_forked() or kind in _FORKED:
        return BackendError(
            f"CUDA does not work on {device} in this process ({said}). A forked process cannot use what its parent "
            "began: start workers with multiprocessing.get_context('spawn')"
        )
    if kind in _STICKY:
        return DeviceFailedError(
            f"{device} has failed ({said}), and nothing works on it in this process from now on: restart the process"
        )
    return BackendError(f"{device} refuses ({said}); `nvidia-smi` shows who uses it and what the driver says")


_used_by: set[int] = set()  # processes


def mark_used() -> None:
    """Note that this process began to use CUDA: what it forks from now on cannot."""
    _used_by.add(os.getpid())


def was_forked() -> bool:
    """Return whether this process is a fork of one that used CUDA."""
    return bool(_used_by) and os.getpid() not in _used_by
