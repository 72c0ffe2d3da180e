"""Files that take seconds to make, as a compiler's do: made once in a session, whichever of its workers asks first."""

import fcntl
from collections.abc import Callable
from pathlib import Path


def made_once(target: Path, make: Callable[[Path], object]) -> Path:
    """Return `target`, which `make` writes, to another path, unless it is there; who asks meanwhile waits."""
    if not target.exists():
        with open(f"{target}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not target.exists():
                part = target.with_name(f"part.{target.name}")
                make(part)
                part.replace(target)
    return target
