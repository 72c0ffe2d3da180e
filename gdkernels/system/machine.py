"""A description of the machine and its software; no other module reads it.

`machine` returns the properties that make two machines of one kind, because measured times hold only on one kind. Each
of the other functions returns one thing that a reader of a measurement wants to know, or None if the system does not
tell.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from gdkernels.system.hashing import sha256

__all__ = [
    "blas_libraries",
    "clock",
    "commit",
    "cores",
    "machine",
    "memory_bytes",
    "nvidia_gpus",
    "package_versions",
    "processor",
    "system",
]

_CPUINFO = Path("/proc/cpuinfo")
_CPU = Path("/sys/devices/system/cpu")


def machine() -> dict[str, str | int]:
    """Return the processor, a digest of its features, and the number of its cores: the same on machines of one kind."""
    return {"processor": processor(), "features": _features(), "cores": os.cpu_count() or 1}


@cache
def _features() -> str:
    known = _first_processor()
    flags = " ".join(sorted((known.get("flags") or known.get("Features") or platform.machine()).split()))
    return sha256(flags.encode()).hexdigest()[:12]


def processor() -> str:
    """Return the name of the processor."""
    return _first_processor().get("model name") or platform.processor() or platform.machine()


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def clock() -> dict[str, Any]:
    """Return the governor, its limits and the clock of each core at the moment."""
    policy = _CPU / "cpu0/cpufreq"
    shown = [line.partition(":")[2] for line in _read(_CPUINFO).splitlines() if line.startswith("cpu MHz")]
    return {
        "governor": _read(policy / "scaling_governor").strip() or None,
        "highest_khz": _read(policy / "cpuinfo_max_freq").strip() or None,
        "boost": _read(_CPU / "cpufreq/boost").strip() or None,
        "mhz": [float(mhz) for mhz in shown] or None,
    }


def memory_bytes() -> int | None:
    """Return the size of the machine's memory."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def nvidia_gpus() -> list[str]:
    """Return name, driver, clock limit and power limit of each NVIDIA GPU."""
    fields = "name,driver_version,clocks.max.sm,power.limit,memory.total"
    return _output("nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader").splitlines()


def system() -> dict[str, str]:
    """Return the operating system, its kernel and the Python that runs."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "kernel": platform.release(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def package_versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the version of each package that is installed."""
    from importlib.metadata import PackageNotFoundError, version  # costs more than all of gdkernels

    found = {}
    for name in packages:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def blas_libraries() -> list[dict[str, Any]]:
    """Return the BLAS libraries that NumPy loaded, with their numbers of threads."""
    import numpy as np  # noqa: F401 (threadpoolctl sees what is loaded)
    from threadpoolctl import threadpool_info

    shown = ("internal_api", "version", "num_threads", "architecture", "threading_layer")
    return [{k: pool.get(k) for k in shown} for pool in threadpool_info() if pool["user_api"] == "blas"]


def commit(folder: Path) -> str | None:
    """Return the commit of the checkout that `folder` is in, marked where files differ from it; None outside of one."""
    found = _output("git", "-C", str(folder), "rev-parse", "HEAD").strip()
    if not found:
        return None
    changed = _output("git", "-C", str(folder), "status", "--porcelain", "--untracked-files=no").strip()
    return found + ("+changes" if changed else "")


@cache
def _first_processor() -> dict[str, str]:
    pairs = (line.partition(":") for line in _read(_CPUINFO).split("\n\n")[0].splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _output(command: str, *arguments: str) -> str:
    import shutil  # loads subprocess, which only the description of a measurement needs
    import subprocess

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
