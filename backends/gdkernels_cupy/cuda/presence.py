"""Whether there is an NVIDIA GPU that CUDA can use, and why not: what the system shows, before anything is computed."""

import os
import re
from pathlib import Path
from typing import Any

from gdkernels.errors import keyword

__all__ = ["INSTALL", "no_driver_or_device", "no_matrix_unit", "tf32_by_environment", "there_is_a_gpu", "too_old"]

INSTALL = 'pip install "gdkernels[cuda13]" (with a driver older than 580: "gdkernels[cuda12]")'
_INSTALL_DRIVER = (
    "install one (Ubuntu: `sudo ubuntu-drivers install`; others: https://www.nvidia.com/drivers), "
    "or start the container with `--gpus all`"
)

# Where the kernel module shows GPUs, whether or not CUDA can use them.
_PROC = Path("/proc/driver/nvidia/gpus")
_DEV = Path("/dev")

# Windows' subsystem for Linux and Jetson have no /dev/nvidia0: the driver of the first is that of Windows.
_WSL = Path("/usr/lib/wsl/lib/libcuda.so.1")
_JETSON = ("nvhost-gpu", "nvgpu")
_CUDA_13 = 13000
_MATRIX_UNIT = 80  # compute capability with tf32 and bfloat16

_ERROR_INSUFFICIENT_DRIVER, _ERROR_NO_DEVICE = 35, 100  # CUDA's own numbers


def there_is_a_gpu() -> bool:
    """Return whether the system shows an NVIDIA GPU, whether or not CUDA can use it."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden is not None and hidden.strip() in ("", "-1"):
        return False
    if ((_DEV / "dxg").exists() and _WSL.exists()) or any((_DEV / name).exists() for name in _JETSON):
        return True
    return (_PROC.is_dir() and any(_PROC.iterdir())) or any(
        re.fullmatch(r"nvidia\d+", node.name) for node in _DEV.glob("nvidia*")
    )


def no_driver_or_device(cupy: Any) -> str | None:
    """Return why CUDA finds no device, with the way on; None where it finds one."""
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


def tf32_by_environment() -> str | None:
    """Return why float32 would not be true float32."""
    # CuPy reads it once, at its first product in float32, and would then round the operands of every one.
    value = os.environ.get("CUPY_TF32", "0")
    return None if value == "0" else f"CUPY_TF32={value} would turn float32 into TF32: `unset CUPY_TF32`"


def too_old(cupy: Any, number: int) -> str | None:
    """Return why CUDA cannot compile for a GPU; no context is made to find out."""
    capability, oldest = int(cupy.cuda.Device(number).compute_capability), 75
    if cupy.cuda.runtime.runtimeGetVersion() < _CUDA_13 or capability >= oldest:
        return None
    return (
        f"cuda:{number} has compute capability {capability / 10}, and CUDA 13 compiles for {oldest / 10} and newer: "
        'pip install "gdkernels[cuda12]"'
    )


def no_matrix_unit(precision: str) -> str | None:
    """Return why no GPU here has a precision; None where one has it, or none is known."""
    try:
        import cupy

        numbers = range(cupy.cuda.runtime.getDeviceCount())
        found = {f"cuda:{k}": int(cupy.cuda.Device(k).compute_capability) for k in numbers}
    except Exception:  # no CuPy, no driver, no device: `unavailable` says which
        return None
    if not found or max(found.values()) >= _MATRIX_UNIT:
        return None
    named = ", ".join(f"{name} has {capability / 10}" for name, capability in found.items())
    choose = f"choose {keyword('precision', 'float32')}"
    return f"{precision} needs compute capability {_MATRIX_UNIT / 10}, and {named}: {choose}"


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"
