"""The device that results belong to, with the software on its machine."""

from __future__ import annotations

import platform
from typing import Any

from gdkernels.system.machine import package_versions

__all__ = ["describe"]

_PACKAGES = (
    "gdkernels", "numpy", "cupy-cuda13x", "cupy-cuda12x", "nvidia-cublas", "nvidia-cuda-nvrtc", "torch", "jax",
)  # fmt: skip


def describe(device: int = 0) -> dict[str, Any]:
    """Return the device, its driver, and the versions of everything that takes part."""
    import cupy
    from gdkernels_cupy.persistent.proof import source_version

    runtime = cupy.cuda.runtime
    properties = runtime.getDeviceProperties(device)
    name = properties["name"]
    return {
        "device": name.decode() if isinstance(name, bytes) else str(name),
        "capability": f"{properties['major']}.{properties['minor']}",
        "memory": int(properties["totalGlobalMem"]),
        "driver": int(runtime.driverGetVersion()),
        "runtime": int(runtime.runtimeGetVersion()),
        "kernels": source_version()[:16],
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": package_versions(_PACKAGES),
    }
