"""The memory that this process may have: by the machine, by its control groups, and by its own limits."""

from __future__ import annotations

import math
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from gdkernels.errors import InputError, shown
from gdkernels.system.control_groups import folders
from gdkernels.system.ranges import whole

__all__ = ["Room", "data", "gigabytes", "limit", "parse_bytes", "peak", "room", "used"]

_MEMINFO = Path("/proc/meminfo")
_STATUS = Path("/proc/self/status")
_PAGES = Path("/proc/self/statm")

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
# By resource limit, the memory of this process that counts towards it.
_RESOURCES = {"RLIMIT_AS": "VmSize", "RLIMIT_DATA": "VmData"}


@dataclass(frozen=True)
class Room:
    """A bound in bytes, and its cause."""

    bytes: int
    by: str

    def __str__(self) -> str:
        return f"{gigabytes(self.bytes)} ({self.by})"


def room() -> Room | None:
    """Return how much more memory this process can have now; None if the system does not tell."""
    status = _fields(_STATUS)
    found = [Room(_fields(_MEMINFO).get("MemAvailable", -1), "what the machine has left")]
    for folder, most in _cgroup_limits():
        # The system gives up cached pages of files when a process needs memory.
        kept = _fields(folder / "memory.stat").get("inactive_file", 0)
        taken = _number(folder / "memory.current") or _number(folder / "memory.usage_in_bytes") or 0
        found.append(Room(max(0, most - taken + kept), "what the control group has left"))
    for name, most in _resource_limits():
        found.append(Room(max(0, most - status.get(_RESOURCES[name], 0)), f"what {name} leaves"))
    return min((r for r in found if r.bytes >= 0), key=lambda r: r.bytes, default=None)


def limit() -> Room | None:
    """Return the most memory that this process can ever have; unlike `room`, it does not change."""
    found = [Room(_fields(_MEMINFO).get("MemTotal", -1), "the memory of the machine")]
    found += [Room(most, "the limit of the control group") for _, most in _cgroup_limits()]
    found += [Room(most, name) for name, most in _resource_limits()]
    return min((r for r in found if r.bytes > 0), key=lambda r: r.bytes, default=None)


def used() -> int:
    """Return the bytes of memory that this process has now; 0 if the system does not tell."""
    try:  # each fit asks, and this file is read in a tenth of the time that `_STATUS` takes
        with open(_PAGES, "rb", buffering=0) as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0


def peak() -> int:
    """Return the most bytes of memory that this process has had so far."""
    return _fields(_STATUS).get("VmHWM", 0)


def data() -> int:
    """Return the bytes that count towards RLIMIT_DATA now."""
    return _fields(_STATUS).get("VmData", 0)


def parse_bytes(size: str | int, name: str = "memory") -> int:
    """Read "512MB", "1.5 GB" or "2GiB", or a number of bytes.

    Raises
    ------
    InputError
        For anything else.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]i?)?b?\s*", size.lower()) if isinstance(size, str) else None
    number = float(found[1]) * _UNITS[found[2] or ""] if found else math.inf
    value = int(number) if number < math.inf else size
    if not whole(1).has(value):
        raise InputError(
            f"{name} must be a size as in '512MB', '1.5GB' or '2GiB', or a number of bytes, got {shown(size)}"
        )
    return int(value)


def gigabytes(size: float) -> str:
    """Return bytes in the unit in which they are best read."""
    size = min(size, sys.float_info.max)  # a whole number may be beyond it
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size / 1e3:.3g} kB"


def _cgroup_limits() -> list[tuple[Path, int]]:
    """Return the folder and the limit of each control group that this process is in, its own and those around it."""
    names = ("memory.max", "memory.limit_in_bytes")  # of versions 2 and 1
    limits = [(folder, _number(folder / name)) for folder in folders("memory") for name in names]
    return [(folder, most) for folder, most in limits if most is not None]


def _resource_limits() -> list[tuple[str, int]]:
    try:
        import resource
    except ImportError:  # not a Unix
        return []
    found = [(name, resource.getrlimit(getattr(resource, name))[0]) for name in _RESOURCES if hasattr(resource, name)]
    return [(name, most) for name, most in found if most != resource.RLIM_INFINITY]


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # "max"
        return None


def _fields(path: Path) -> dict[str, int]:
    """Return the numbers of a file of names and numbers, those in kB as bytes."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        return {}
    found = re.findall(r"^(\w+):?\s+(\d+)( kB)?$", text, re.MULTILINE)
    return {name: int(number) * (1024 if unit else 1) for name, number, unit in found}
