"""``python -m benchmarks.room_changes``: how often a fit changes rooms, counted by `sys.setprofile`.

A network that is bound already trains for one more epoch. Counted are the Python calls from a file in one room of
gdkernels to a file in another; a room is a folder of the package, or a module in its root.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

import gdkernels as gd

_PACKAGE = Path(gd.__file__).parent

__all__ = ["changes", "main"]


def changes(backend: str = "numba") -> Counter[tuple[str, str]]:
    """Return how often each room called each other room in a second fit of one epoch."""
    random = np.random.default_rng(0)
    X, Y = random.standard_normal((256, 8)).astype(np.float32), random.standard_normal((256, 1)).astype(np.float32)
    mlp = gd.MLP([8, 16, 1], seed=0, backend=backend)
    mlp.fit(X, Y, epochs=1, batch_size=64)
    found: Counter[tuple[str, str]] = Counter()

    def count(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_back is not None:
            rooms = _room(frame.f_back), _room(frame)
            if rooms[0] is not None and rooms[1] is not None and rooms[0] != rooms[1]:
                found[rooms[0], rooms[1]] += 1

    sys.setprofile(count)
    try:
        mlp.fit(X, Y, epochs=1, batch_size=64)
    finally:
        sys.setprofile(None)
    return found


def _room(frame: FrameType) -> str | None:
    path = Path(frame.f_code.co_filename)
    return path.relative_to(_PACKAGE).parts[0] if path.is_relative_to(_PACKAGE) else None


def main() -> None:
    """Print the number of changes, and from where to where they were."""
    found = changes()
    print(f"{sum(found.values())} changes of room in a second fit of one epoch")
    for (caller, called), times in found.most_common():
        print(f"{times:5}  {caller} → {called}")


if __name__ == "__main__":
    main()
