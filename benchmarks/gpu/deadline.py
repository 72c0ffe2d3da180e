"""The time that is left to an item: what it has found by then is its result, rather than nothing."""

from __future__ import annotations

import math
import time

__all__ = ["begin", "left"]

_LAST = 5.0  # seconds, in which an item that has heard of its end writes what it has

_ends: list[float] = []  # of the item that this process does


def begin(seconds: float) -> None:
    """Note that an item begins, which has so many seconds."""
    _ends[:] = [time.monotonic() + seconds - _LAST]


def left() -> float:
    """Return the seconds that are left, which may be less than 0; infinite where nobody has set an end."""
    return _ends[0] - time.monotonic() if _ends else math.inf
