"""A GPU as the device of a narrow executable, through CuPy."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels_cupy.cuda.device import check_device, describe
from gdkernels_cupy.persistent.launch_device import CompiledText, DeviceProperties

__all__ = ["CudaLaunchDevice", "properties_of"]

_OPTIONS = ("-std=c++17",)
_PROCESSORS, _SHARED_WHEN_ASKED = 16, 97  # cudaDeviceAttr


def properties_of(device: int) -> DeviceProperties:
    """Return the properties of a GPU."""
    import cupy

    capability = int(cupy.cuda.Device(device).compute_capability)
    return DeviceProperties(capability, int(cupy.cuda.runtime.deviceGetAttribute(_SHARED_WHEN_ASKED, device)))


class CudaLaunchDevice:
    """A GPU, by its number; everything happens on its current stream."""

    def __init__(self, device: int) -> None:
        import cupy

        self._cupy, self._device = cupy, device
        self.properties = properties_of(device)

    def compile(self, source: CompiledText) -> "CudaKernels":
        with self._cupy.cuda.Device(self._device):
            return CudaKernels(self._cupy, self._device, source)

    def contiguous(self, a: Any) -> Any:
        if isinstance(a, self._cupy.ndarray):
            check_device(a.device.id, self._device)
        with self._cupy.cuda.Device(self._device):
            return self._cupy.ascontiguousarray(a, dtype="float32")

    def copy(self, a: Any) -> Any:
        there = self.contiguous(a)
        with self._cupy.cuda.Device(self._device):
            return there.copy() if there is a else there

    def put(self, a: npt.NDArray[Any]) -> Any:
        with self._cupy.cuda.Device(self._device):
            return self._cupy.asarray(a)

    def zeros(self, count: int, dtype: str) -> Any:
        with self._cupy.cuda.Device(self._device):
            return self._cupy.zeros(count, dtype=dtype)

    def to_numpy(self, a: Any) -> npt.NDArray[Any]:
        host: npt.NDArray[Any] = self._cupy.asnumpy(a)
        return host

    def address(self, a: Any) -> int:
        return int(a.data.ptr)

    def wait(self) -> None:
        with self._cupy.cuda.Device(self._device):
            self._cupy.cuda.get_current_stream().synchronize()

    def describe(self) -> Any:
        return describe(self._device)


class CudaKernels:
    """A source compiled by NVRTC, which CuPy keeps on disk."""

    def __init__(self, cupy: Any, device: int, source: CompiledText) -> None:
        self._cupy, self._device = cupy, device
        self._threads, self._shared = 32 * source.warps, source.shared_bytes
        module = cupy.RawModule(code=source.text, options=_OPTIONS)
        self._signatures, self._main = source.signatures, source.main
        self._kernels = {name: module.get_function(name) for name in self._signatures}
        for name in self._kernels.keys() & {self._main, "predict"}:
            # Above 48 KiB it is given only where it is asked for.
            self._kernels[name].max_dynamic_shared_size_bytes = source.shared_bytes

    def resident(self) -> int:
        from cupy.cuda import driver, runtime

        kernel = self._kernels[self._main]
        with self._cupy.cuda.Device(self._device):
            blocks = driver.occupancyMaxActiveBlocksPerMultiprocessor(kernel.kernel.ptr, self._threads, self._shared)
            return int(blocks) * int(runtime.deviceGetAttribute(_PROCESSORS, self._device))

    def local_bytes(self) -> int:
        kernel = self._kernels[self._main]
        with self._cupy.cuda.Device(self._device):
            return int(kernel.local_size_bytes)

    def launch(self, name: str, ctas: int, shared_bytes: int, arguments: Sequence[Any], *, together: bool) -> None:
        types = [argument.rsplit(" ", 1)[0] for argument in self._signatures[name].split(", ")]
        given = tuple(_as_argument(kind, a) for kind, a in zip(types, arguments, strict=True))
        with self._cupy.cuda.Device(self._device):
            # Were not all CTAs resident, those that are would wait for ever: CuPy starts fewer, with a warning.
            function = self._kernels[name].kernel
            function((ctas,), (self._threads,), given, shared_bytes, enable_cooperative_groups=together)


def _as_argument(kind: str, value: Any) -> Any:
    if kind == "int":
        return np.int32(value)
    if kind == "long long":
        return np.int64(value)
    return np.uint64(0) if value is None else value
