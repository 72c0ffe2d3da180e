"""Which machine this is: measured times are only good for the one that they were taken on."""

import os
import platform
from pathlib import Path

from gdkernels.system.hashing import sha256

__all__ = ["machine"]

_CPUINFO = Path("/proc/cpuinfo")


def machine() -> dict[str, str | int]:
    """Return the processor, a digest of its features, and the number of its cores: the same on machines of one kind."""
    known = _first_processor()
    processor = known.get("model name") or platform.processor() or platform.machine()
    flags = " ".join(sorted((known.get("flags") or known.get("Features") or platform.machine()).split()))
    return {
        "processor": processor,
        "features": sha256(flags.encode()).hexdigest()[:12],
        "cores": os.cpu_count() or 1,
    }


def _first_processor() -> dict[str, str]:
    try:
        text = _CPUINFO.read_text(encoding="utf-8")
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.split("\n\n")[0].splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}
