"""The CUDA backend: the definition traced and compiled into CUDA graphs, or as it is on CuPy, on NVIDIA GPUs."""

import logging
import os
import re
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.backend import PRECISIONS, Backend, Executable, Plan, host_array, storage_dtype
from gdkernels.backend.program import Program
from gdkernels.errors import BackendError, InputError, TraceError
from gdkernels.lowering.steps import ScheduleError
from gdkernels_cupy.cuda.pinned import fits, keep_on_host

__all__ = ["CuPyBackend"]

_log = logging.getLogger("gdkernels")

_INSTALL = 'pip install "gdkernels[cuda13]" (with a driver older than 580: "gdkernels[cuda12]")'
_INSTALL_DRIVER = (
    "install one (Ubuntu: `sudo ubuntu-drivers install`; others: https://www.nvidia.com/drivers), "
    "or start the container with `--gpus all`"
)

# Where the kernel module shows GPUs, whether or not CUDA can use them.
_PROC = Path("/proc/driver/nvidia/gpus")
_DEV = Path("/dev")

_SMALL = 1 << 24  # bytes that are not worth a question

# CUDA's and DLPack's own numbers.
_ERROR_INSUFFICIENT_DRIVER, _ERROR_NO_DEVICE = 35, 100
_DLPACK_CUDA, _DLPACK_CUDA_MANAGED = 2, 13


class CuPyBackend(Backend):
    """CuPy arrays on NVIDIA GPUs; programs become CUDA graphs. "float32" is true float32, never TF32."""

    name = "cupy"
    priority = 20
    precisions = PRECISIONS
    compiles_weighted = True

    def unavailable(self) -> str | None:
        try:
            import cupy
        except ModuleNotFoundError as error:
            if error.name == "cupy":
                return f"CuPy is not installed: {_INSTALL}"
            return f"CuPy is installed but lacks {error.name}: pip install {error.name}"
        except ImportError as error:
            return f"CuPy is installed but cannot be imported ({_last_line(error)}): uninstall it, then {_INSTALL}"
        return _no_driver_or_device(cupy) or _tf32_by_environment() or _does_not_compute(cupy)

    def expected(self) -> bool:
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
        if hidden is not None and hidden.strip() in ("", "-1"):
            return False
        return (_PROC.is_dir() and any(_PROC.iterdir())) or any(
            re.fullmatch(r"nvidia\d+", node.name) for node in _DEV.glob("nvidia*")
        )

    def devices(self) -> list[str]:
        import cupy

        return [f"cuda:{k}" for k in range(cupy.cuda.runtime.getDeviceCount())]

    @cached_property
    def xp(self) -> Any:
        import array_api_compat.cupy

        return array_api_compat.cupy

    def asarray(self, x: Any, *, dtype: str, device: str) -> Any:
        import cupy

        from gdkernels_cupy.cuda.device import check_device, free_bytes

        where = _number(device)
        if isinstance(x, cupy.ndarray):
            check_device(x.device.id, where)
        elif _is_cuda_dlpack(x):
            check_device(x.__dlpack_device__()[1], where)
            x = cupy.from_dlpack(x)
        else:
            x = host_array(x, dtype)  # converted on the host, so that only what is needed is copied
        with cupy.cuda.Device(where):
            if not isinstance(x, np.ndarray) or x.nbytes <= _SMALL:
                return cupy.asarray(x, dtype=dtype)
            if not fits(x.nbytes, free_bytes()):
                _log.warning(
                    "%.2f GB do not fit on %s beside the work: they stay in the host's memory, and each batch is "
                    "fetched while the one before is worked on",
                    x.nbytes / 1e9,
                    device,
                )
                return keep_on_host(x, where)
            # `cupy.asarray` would copy it to pinned memory first, of up to twice its size, and keep that.
            there = cupy.empty(x.shape, dtype)
            there.set(x)
            cupy.cuda.get_current_stream().synchronize()  # the caller may change `x` from now on
            return there

    def to_numpy(self, x: Any) -> npt.NDArray[Any]:
        import cupy

        host: npt.NDArray[Any] = cupy.asnumpy(x)
        return host

    def on_device(self, device: str) -> AbstractContextManager[Any]:
        import cupy

        context: AbstractContextManager[Any] = cupy.cuda.Device(_number(device))
        return context

    def synchronize(self, device: str) -> None:
        """Wait for what this thread has begun: CUDA refuses to wait for a device while another captures a graph."""
        import cupy

        with self.on_device(device):
            cupy.cuda.get_current_stream().synchronize()

    def memory(self, device: str) -> tuple[int, int] | None:
        import cupy

        from gdkernels_cupy.cuda.device import free_bytes

        with self.on_device(device):
            return free_bytes(), int(cupy.cuda.runtime.memGetInfo()[1])

    def compile(self, program: Program, plan: Plan) -> Executable | None:
        from gdkernels_cupy.choice import ChosenExecutable

        try:
            return ChosenExecutable(program, plan, _number(plan.device))
        except (TraceError, ScheduleError) as error:
            if plan.precision != storage_dtype(plan.precision):
                raise BackendError(
                    f"{plan.precision} needs a program that can be compiled, and this one cannot ({error}); "
                    "choose precision='float32'"
                ) from error
            _log.info("the definition runs as it is, because it cannot be compiled: %s", error)
            return None

    def why(self, program: Program, plan: Plan, widths: tuple[int, ...]) -> str:
        from gdkernels_cupy.choice import ChosenExecutable

        executable = self.compile(program, plan)
        return executable.why(widths) if isinstance(executable, ChosenExecutable) else ""


def _no_driver_or_device(cupy: Any) -> str | None:
    runtime = cupy.cuda.runtime
    driver, needed = runtime.driverGetVersion(), runtime.runtimeGetVersion()
    if driver == 0:
        return f"there is no NVIDIA driver: {_INSTALL_DRIVER}"
    try:
        count = runtime.getDeviceCount()
    except runtime.CUDARuntimeError as error:
        status = getattr(error, "status", None)
        if status == _ERROR_INSUFFICIENT_DRIVER:
            return (
                f"the NVIDIA driver is too old: it can do CUDA {_version(driver)}, CuPy needs {_version(needed)}; "
                'update it (https://www.nvidia.com/drivers), or `pip install "gdkernels[cuda12]"`'
            )
        if status != _ERROR_NO_DEVICE:
            return f"CUDA does not start ({error}); `nvidia-smi` shows what the driver says"
        count = 0
    if count:
        return None
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return f"no CUDA device is visible: CUDA_VISIBLE_DEVICES is set to {visible!r}; `unset CUDA_VISIBLE_DEVICES`"
    return (
        "there is no CUDA device: `nvidia-smi -L` lists those that the driver sees; "
        "a container sees them when started with `--gpus all`"
    )


def _tf32_by_environment() -> str | None:
    # CuPy reads it once, at its first product in float32, and would then round the operands of every one.
    value = os.environ.get("CUPY_TF32", "0")
    return None if value == "0" else f"CUPY_TF32={value} would turn float32 into TF32: `unset CUPY_TF32`"


def _does_not_compute(cupy: Any) -> str | None:
    """Try what training needs: memory, a product (cuBLAS), a generated kernel (NVRTC); say what is missing."""
    size = 8
    libraries = f'pip install "cupy-cuda{cupy.cuda.runtime.runtimeGetVersion() // 1000}x[ctk]"'
    doing = "allocating memory"
    try:
        with cupy.cuda.Device(0):
            ones = cupy.asarray(np.ones((size, size), dtype=np.float32))
            doing = "a matrix product (cuBLAS)"
            product = cupy.matmul(ones, ones)
            doing = "compiling a kernel (NVRTC)"
            host = cupy.asnumpy(cupy.sqrt(product))
    except Exception as error:  # its kinds differ from library to library and from release to release
        kind = type(error).__name__
        if kind == "CompileException" and "gpu-architecture" in str(error):
            return 'this CUDA no longer compiles for so old a GPU: pip install "gdkernels[cuda12]"'
        # ImportError where cuBLAS is not found, DynamicLibNotFoundError (of cuda.pathfinder) where NVRTC is not,
        # CompileException where the headers of CUDA are not.
        if isinstance(error, ImportError) or kind in ("DynamicLibNotFoundError", "CompileException"):
            return f"{doing} needs a CUDA library that is not found ({_last_line(error)}): {libraries}"
        return (
            f"{doing} on cuda:0 fails ({kind}: {_last_line(error)}); "
            "`nvidia-smi` shows who uses the device and what the driver says"
        )
    if not np.allclose(host, size**0.5, rtol=1e-6):
        return f"a matrix product on cuda:0 is wrong ({host.flat[0]} instead of {size**0.5:.6f}): {libraries}"
    return None


def _number(device: str) -> int:
    match = re.fullmatch(r"cuda:(\d+)", device)
    if match is None:
        raise InputError(f"{device!r} is not a device of the backend 'cupy'; they are called 'cuda:0', 'cuda:1', …")
    return int(match[1])


def _is_cuda_dlpack(x: Any) -> bool:
    return hasattr(x, "__dlpack_device__") and x.__dlpack_device__()[0] in (_DLPACK_CUDA, _DLPACK_CUDA_MANAGED)


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines()]
    return next((line for line in reversed(lines) if line.strip("=")), type(error).__name__)
