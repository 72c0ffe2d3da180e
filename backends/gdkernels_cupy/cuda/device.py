"""A GPU as the engine sees it: its stream, its modules, its handle of cuBLAS, and memory with addresses."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

import numpy as np

from gdkernels.errors import BackendError
from gdkernels.lowering.allocation import ALIGNMENT
from gdkernels.system.version import __version__
from gdkernels_cupy.cuda import cublaslt
from gdkernels_cupy.cuda.errors import DeviceMemoryError, mark_used

__all__ = [
    "CudaDevice",
    "DeviceMemory",
    "check_device",
    "describe",
    "device",
    "free_bytes",
    "known_problem",
    "problem_of",
]

_OPTIONS = ("-std=c++17",)

# Through so much pinned memory goes what is copied to a device; less than the second figure goes there directly.
_STAGING, _SMALL = 4 << 20, 1 << 16


class DeviceMemory:
    """Bytes on a device, freed with their owner."""

    def __init__(self, block: Any, size: int) -> None:
        self._block, self.size = block, size

    @property
    def address(self) -> int:
        return int(self._block.ptr)


class CudaDevice:
    """One GPU; its work runs on one stream, so that it has one order."""

    def __init__(self, number: int) -> None:
        import cupy

        self.number = number
        self.lock = threading.RLock()
        self._cupy = cupy
        self._modules: dict[str, Any] = {}
        self._staging: Any = None
        mark_used()
        with cupy.cuda.Device(number):
            self.stream = cupy.cuda.Stream(non_blocking=True)
            self.copying = cupy.cuda.Stream(non_blocking=True)  # what comes from the host, beside the work
            self.handle = cublaslt.Handle()
            self.workspace = self.allocate(cublaslt.WORKSPACE)

    def allocate(self, size: int) -> DeviceMemory:
        """Return memory of so many bytes.

        CuPy gives freed memory to the same stream again while that may still work on it: all memory is of this stream.

        Raises
        ------
        DeviceMemoryError
            If fewer are free; the message says how many.
        """
        cuda = self._cupy.cuda
        try:
            with cuda.Device(self.number), self.stream:
                return DeviceMemory(cuda.alloc(max(size, ALIGNMENT)), size)
        except cuda.memory.OutOfMemoryError as error:
            with cuda.Device(self.number):
                free, total = cuda.runtime.memGetInfo()
            raise DeviceMemoryError(
                f"{size / 1e9:.2f} GB are not available on cuda:{self.number}: {free / 1e9:.2f} of "
                f"{total / 1e9:.2f} GB are free; choose a smaller batch_size, or end what else uses the device"
            ) from error

    def put(self, array: Any) -> DeviceMemory:
        """Return device memory with the bytes of a NumPy array, which may go when this returns."""
        memory = self.allocate(array.nbytes)
        self.upload(memory.address, np.ascontiguousarray(array))
        return memory

    def release(self) -> None:
        """Give back the memory that CuPy keeps for later: its pieces may be too small alone, and enough together."""
        self.stream.synchronize()
        with self._cupy.cuda.Device(self.number):  # it gives back those of the current one alone
            self._cupy.get_default_memory_pool().free_all_blocks()

    def kernels(self, text: str) -> Any:
        """Return the module of `text`, compiled once; CuPy keeps the machine code on disk."""
        if text not in self._modules:
            self._modules[text] = self._cupy.RawModule(code=text, options=_OPTIONS)
        return self._modules[text]

    def captured(self, work: Iterable[Callable[[], None]]) -> Any:
        """Return the graph of what these calls do on the stream; if one fails, the stream works as before."""
        try:
            self.stream.begin_capture()
            for call in work:
                call()
            return self.stream.end_capture()
        except BaseException:
            with suppress(Exception):  # of what is incomplete; a capture that is left open swallows all that follows
                self.stream.end_capture()
            raise

    # ---- copies, all on the stream

    def upload(self, to: int, array: Any) -> None:
        """Copy a NumPy array to the device; the array may go when this returns."""
        runtime, begin = self._cupy.cuda.runtime, array.ctypes.data
        kind = runtime.memcpyHostToDevice
        if array.nbytes <= _SMALL:
            runtime.memcpyAsync(to, begin, array.nbytes, kind, self.stream.ptr)
            self.stream.synchronize()
            return
        # CuPy's own way takes pinned memory of up to twice the array, and keeps it.
        if self._staging is None:
            self._staging = self._cupy.cuda.PinnedMemory(_STAGING, runtime.hostAllocPortable)
        for start in range(0, array.nbytes, _STAGING):
            size = min(_STAGING, array.nbytes - start)
            ctypes.memmove(self._staging.ptr, begin + start, size)
            runtime.memcpyAsync(to + start, self._staging.ptr, size, kind, self.stream.ptr)
            self.stream.synchronize()

    def download(self, array: Any, source: int) -> None:
        """Copy to a NumPy array, and wait until it is there."""
        runtime = self._cupy.cuda.runtime
        runtime.memcpyAsync(array.ctypes.data, source, array.nbytes, runtime.memcpyDeviceToHost, self.stream.ptr)
        self.stream.synchronize()

    def copy_rows(self, to: int, pitch: int, source: int, source_pitch: int, width: int, rows: int) -> None:
        """Copy `rows` rows of `width` bytes from one place on the device to another."""
        runtime = self._cupy.cuda.runtime
        kind = runtime.memcpyDeviceToDevice
        runtime.memcpy2DAsync(to, pitch, source, source_pitch, width, rows, kind, self.stream.ptr)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Make the device and its stream current, behind the unfinished work of the caller's stream.

        Its arrays may not be ready yet. At the end the stream has done all its work, even after an error or an
        interrupt, so that memory may be freed.
        """
        with self._cupy.cuda.Device(self.number):
            self.stream.wait_event(self._cupy.cuda.get_current_stream().record())
            try:
                with self.stream:
                    yield
            finally:
                self.stream.synchronize()


def describe(number: int) -> dict[str, Any]:
    """Return what results and times on a device depend on: the device, its driver, the versions of the libraries."""
    import cupy

    runtime = cupy.cuda.runtime
    properties = runtime.getDeviceProperties(number)
    name, uuid = (properties.get(key, b"") for key in ("name", "uuid"))
    return {
        "device": name.decode() if isinstance(name, bytes) else str(name),
        "uuid": uuid.hex() if isinstance(uuid, bytes) else str(uuid),
        "driver": int(runtime.driverGetVersion()),
        "cublasLt": int(cublaslt.loaded_library().cublasLtGetVersion()),
        "nvrtc": list(cupy.cuda.nvrtc.getVersion()),
        "cupy": str(cupy.__version__),
        "gdkernels": __version__,
    }


_one_at_a_time = threading.Lock()


def device(number: int) -> CudaDevice:
    """Return the GPU of that number: the same one, with one lock and one stream, in all threads."""
    with _one_at_a_time:
        return _device(number)


@cache
def _device(number: int) -> CudaDevice:
    return CudaDevice(number)


def check_device(found: int, wanted: int) -> None:
    """Refuse an array of another GPU: copying it unasked would hide that every batch crosses the bus.

    Raises
    ------
    BackendError
        Where the numbers differ; the message names both.
    """
    if found != wanted:
        raise BackendError(
            f"an array is on cuda:{found}, but the work is on cuda:{wanted}: "
            f"copy it there, or work on cuda:{found} with device='cuda:{found}'"
        )


def free_bytes() -> int:
    """Return the free bytes of the current device: what CuPy's pool keeps for later is free from our point of view."""
    import cupy

    return int(cupy.cuda.runtime.memGetInfo()[0] + cupy.get_default_memory_pool().free_bytes())


_problems: dict[int, str] = {}  # with cublasLt, by the number of the GPU


def problem_of(number: int) -> str | None:
    """Return why nothing can be compiled for a GPU; None if it can."""
    try:
        device(number)
    except cublaslt.CublasLtError as error:
        _problems[number] = str(error)
        return str(error)
    return None


def known_problem() -> str | None:
    """Return why nothing is compiled for any of the GPUs that were asked for so far, without asking for another."""
    return next(iter(_problems.values()), None)
