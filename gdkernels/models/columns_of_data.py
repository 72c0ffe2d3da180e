"""The inputs of a network that learns from its first data how many they are."""

from __future__ import annotations

from typing import Any

import numpy as np

from gdkernels.data.frames import Frame
from gdkernels.data.stored import Stored

__all__ = ["columns_of"]


def columns_of(X: Any) -> tuple[int | None, tuple[str, ...] | None]:
    """Return the number of columns of X, None if it is no table, and their names, None if they have none."""
    stored = Stored.of(X, None, None)
    first = X if stored is None else stored.sample(1)[0]
    frame = Frame.of(first, "X")
    if frame is not None:
        return len(frame.names), frame.names
    shape: tuple[int, ...] = tuple(first.shape) if hasattr(first, "shape") else np.asarray(first).shape
    return int(shape[1]) if len(shape) == 2 else None, None
