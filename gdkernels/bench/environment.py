"""Where and with what something was measured: processors, drivers, libraries, settings."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from gdkernels.bench.measuring.planning import cores
from gdkernels.bench.processes.piped import thread_settings

__all__ = ["environment", "same_machine"]

_PACKAGES = ("gdkernels", "numpy", "numba", "llvmlite", "cupy-cuda12x", "cupy-cuda13x", "torch", "jax", "scikit-learn",
             "thinc")  # fmt: skip
_VARIABLES = ("GDKERNELS_BACKEND", "GDKERNELS_DEVICE", "GDKERNELS_CACHE", "CUDA_VISIBLE_DEVICES", "XLA_FLAGS")
_CPU = Path("/sys/devices/system/cpu")
# What must agree for times to be comparable.
_MACHINE = ("processor", "cores", "gpus", "system")


def environment(threads: Sequence[int]) -> dict[str, Any]:
    """Return what a reader needs to judge times, and to measure them again; what cannot be read is None."""
    return {
        "processor": _processor(),
        "cores": cores(),
        "clock": _clock(),
        "memory_bytes": _memory(),
        "load_before": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "gpus": _gpus(),
        "system": f"{platform.system()} {platform.machine()}",
        "kernel": platform.release(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "versions": _versions(),
        "blas": _blas(),
        "commit": _commit(),
        "thread_settings": {str(n): thread_settings(n) for n in threads},
        "variables": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
    }


def same_machine(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """Return how two environments differ in what makes a machine: nothing where times can be compared."""
    return [f"{key}: {a.get(key)} and {b.get(key)}" for key in _MACHINE if a.get(key) != b.get(key)]


def _processor() -> str:
    for line in _read(Path("/proc/cpuinfo")).splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _clock() -> dict[str, Any]:
    """Return the governor, its limits and the present clock, as far as the system tells."""
    policy = _CPU / "cpu0/cpufreq"
    shown = [line.partition(":")[2] for line in _read(Path("/proc/cpuinfo")).splitlines() if line.startswith("cpu MHz")]
    return {
        "governor": _read(policy / "scaling_governor").strip() or None,
        "highest_khz": _read(policy / "cpuinfo_max_freq").strip() or None,
        "boost": _read(_CPU / "cpufreq/boost").strip() or None,
        "mhz": [float(mhz) for mhz in shown] or None,
    }


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def _gpus() -> list[str]:
    """Return name, driver, clock limit and power limit of each NVIDIA GPU."""
    fields = "name,driver_version,clocks.max.sm,power.limit,memory.total"
    return _output("nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader").splitlines()


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _blas() -> list[dict[str, Any]]:
    import numpy as np  # noqa: F401 (threadpoolctl sees what is loaded)
    from threadpoolctl import threadpool_info

    kept = ("internal_api", "version", "num_threads", "architecture", "threading_layer")
    return [{k: pool.get(k) for k in kept} for pool in threadpool_info() if pool["user_api"] == "blas"]


def _commit() -> str | None:
    """Return the commit of the checkout that is run, marked where files differ from it; None outside of one."""
    folder = str(Path(__file__).parent)
    commit = _output("git", "-C", folder, "rev-parse", "HEAD").strip()
    if not commit:
        return None
    changed = _output("git", "-C", folder, "status", "--porcelain", "--untracked-files=no").strip()
    return commit + ("+changes" if changed else "")


def _output(command: str, *arguments: str) -> str:
    if shutil.which(command) is None:
        return ""
    try:
        done = subprocess.run([command, *arguments], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
