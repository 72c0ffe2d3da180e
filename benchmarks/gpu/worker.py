"""The process that does items: ``python -m benchmarks.gpu.worker CORES``."""

from __future__ import annotations

import ctypes
import math
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from benchmarks.gpu import deadline
from benchmarks.gpu.parts import PARTS, Items
from gdkernels.bench.processes.piped import answer_with

__all__ = ["serve"]

_WHEN_THE_PARENT_DIES = 1  # PR_SET_PDEATHSIG (Linux, include/uapi/linux/prctl.h)


def serve(parts: Mapping[str, Items]) -> None:
    """Do the items that are asked for, by their parts and names."""

    def done(question: dict[str, Any]) -> dict[str, Any]:
        measure = parts[question["part"]][question["item"]].measure
        deadline.begin(question["seconds"])
        try:
            return {"value": _writable(measure())}
        except Exception as error:  # one item that fails must not end the others
            return {"wrong": f"{type(error).__name__}: {error}", "works": _device_works()}

    def begin() -> Callable[[dict[str, Any]], dict[str, Any]]:
        _end_with_the_script()
        return done

    answer_with(begin)


def _end_with_the_script() -> None:
    """Let this process be killed where whoever asks it is: it would hold the device until its item is done."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_WHEN_THE_PARENT_DIES, signal.SIGKILL)


def _device_works() -> bool:
    """Return whether this process can still use the device: after some errors, every call fails."""
    try:
        import cupy

        return float(cupy.ones(2).sum()) == 2.0
    except Exception:
        return False


def _writable(value: Any) -> Any:
    """Return `value` with words in place of what JSON has nothing for: a result is not lost over how it is written."""
    if isinstance(value, Mapping):
        return {str(key): _writable(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_writable(v) for v in value]
    value = value.item() if isinstance(value, np.generic) else value
    told = value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))
    return value if told else str(value)


if __name__ == "__main__":
    serve(PARTS)
