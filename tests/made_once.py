"""Files that take seconds to make, as a compiler's do: made once, whichever worker or session asks first."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

KEPT = 7 * 24 * 3600.0  # seconds


def made_once(target: Path, make: Callable[[Path], object]) -> Path:
    """Return `target`, which `make` writes, to another path, unless it is there; who asks meanwhile waits."""
    with open(f"{target}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            part = target.with_name(f"part.{target.name}")
            make(part)
            part.replace(target)
        os.utime(target)  # it was asked for
    return target


@cache
def host_compiler() -> str:
    """Return a digest of what makes other code of the same text and options: the host's compiler and its processor."""
    from gdkernels_numba.cpu.features import machine_name

    found = shutil.which("g++")
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout if found else ""
    return hashlib.sha256(f"{version}\0{machine_name()}".encode()).hexdigest()[:12]


def remove_unused(folder: Path) -> None:
    """Remove what nobody has asked `made_once` for in a week."""
    for held in folder.rglob("*.lock"):
        target = held.with_suffix("")
        with open(held) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if target.exists() and time.time() - target.stat().st_mtime > KEPT:
                target.unlink()
