"""The control groups of Linux that this process is in, versions 1 and 2: where a container's limits stand."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

__all__ = ["cpu_quota", "folders"]

_MEMBERSHIP = Path("/proc/self/cgroup")
_MOUNTED = Path("/sys/fs/cgroup")


def folders(controller: str) -> list[Path]:
    """Return the folder of each group that this process is in, its own and those around it.

    Parameters
    ----------
    controller
        What the groups limit: "cpu" or "memory". The files in a folder tell which version it is of.
    """
    found: list[Path] = []
    with suppress(OSError, ValueError):
        for line in _MEMBERSHIP.read_text(encoding="utf-8").splitlines():
            number, kinds, path = line.split(":", 2)
            if number == "0" or controller in kinds.split(","):
                root = _root("" if number == "0" else controller)
                # Inside a container, its own group is where the root seems to be.
                inner = root / path.lstrip("/")
                each = [inner, *inner.parents] if inner.is_dir() else [root]
                found += [folder for folder in each if folder.is_relative_to(root)]
    return found


def cpu_quota() -> float | None:
    """Return how many cores' time this process may use, by the strictest group; None where none limits it."""
    found = [quota for folder in folders("cpu") if (quota := _quota(folder)) is not None]
    return min(found, default=None)


def _root(controller: str) -> Path:
    """Return where the groups of version 1 for a controller stand, or with "" those of version 2."""
    if controller:
        return _MOUNTED / controller
    both = _MOUNTED / "unified"  # where a system has both versions
    return both if both.is_dir() else _MOUNTED


def _quota(folder: Path) -> float | None:
    try:
        if (folder / "cpu.max").exists():
            most, period = (folder / "cpu.max").read_text(encoding="ascii").split()
        else:
            most, period = (
                (folder / name).read_text(encoding="ascii").strip()
                for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            )
        quota = int(most) / int(period)  # "max" is no number, and -1 no quota
    except (OSError, ValueError, ZeroDivisionError):
        return None
    return quota if quota > 0 else None
