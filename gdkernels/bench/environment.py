"""The environment in every file of results: the machine, the software and the settings of a measurement.

`gdkernels.system.machine` reads each of them. This module chooses those that a file holds, and names them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gdkernels.bench.processes.piped import thread_settings
from gdkernels.system import machine

__all__ = ["environment", "same_machine"]

_PACKAGES = (
    "gdkernels", "numpy", "scipy", "numba", "llvmlite", "cupy-cuda12x", "cupy-cuda13x", "nvidia-cublas",
    "nvidia-cuda-nvrtc", "torch", "jax", "scikit-learn", "thinc",
)  # fmt: skip
_VARIABLES = ("GDKERNELS_BACKEND", "GDKERNELS_DEVICE", "GDKERNELS_CACHE", "CUDA_VISIBLE_DEVICES", "XLA_FLAGS")
# Times can be compared if these agree.
_MACHINE = ("processor", "cores", "gpus", "system")


def environment(threads: Sequence[int] = ()) -> dict[str, Any]:
    """Return the facts that a reader needs to understand times and to measure them again; None means unknown.

    Parameters
    ----------
    threads
        The numbers of threads that participants have, for the variables that set them.
    """
    return {
        "processor": machine.processor(),
        "cores": machine.cores(),
        "clock": machine.clock(),
        "memory_bytes": machine.memory_bytes(),
        "load_before": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "gpus": machine.nvidia_gpus(),
        **machine.system(),
        "versions": machine.package_versions(_PACKAGES),
        "blas": machine.blas_libraries(),
        "commit": machine.commit(Path(__file__).parent),
        "thread_settings": {str(n): thread_settings(n) for n in threads},
        "variables": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
    }


def same_machine(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """Return how the machines of two environments differ; nothing if times can be compared."""
    return [f"{key}: {a.get(key)} and {b.get(key)}" for key in _MACHINE if a.get(key) != b.get(key)]
