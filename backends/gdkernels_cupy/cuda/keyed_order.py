"""Keyed orders on a device: a kernel writes the numbers of a run's records there, and nobody copies them."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.randomness import KeyedOrder

__all__ = ["order_text", "order_words", "ready_order"]

_MOST = 1 << 31  # records that a kernel numbers


@cache
def order_text() -> str:
    """Return the text of the functions that compute an order; ``ORDER_FN`` is to be defined before it."""
    return (files("gdkernels_cupy.cuda") / "keyed_order.cuh").read_text("utf-8")


def order_words(order: KeyedOrder) -> npt.NDArray[np.uint32]:
    """Return what the kernels know an order by; its first place is not among it."""
    return np.array([order.records, order.down, order.across, *order.keys], np.uint32)


def ready_order(order: Any, dtype: npt.DTypeLike) -> Any:
    """Return an order as the kernels take it: keyed, or an array of numbers of this type."""
    if isinstance(order, KeyedOrder) and order.records < _MOST:
        return order
    return np.ascontiguousarray(order, dtype)
