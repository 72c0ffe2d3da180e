"""The order in which an epoch uses the records: drawn by the network's seed, or by a function of the user."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.backend import Executable
from gdkernels.backend.arguments import within
from gdkernels.errors import InputError, shown
from gdkernels.randomness import KeyedOrder, SeededOrders, epoch_order, epoch_orders
from gdkernels.training.runner import Order

__all__ = ["Rows", "order_of_epoch", "orders_of_epochs"]

Rows = npt.NDArray[np.int64] | KeyedOrder


def order_of_epoch(own: Order | None, seed: int, epoch: int, records: int, stream: int) -> Rows:
    """Return the order of one epoch.

    Parameters
    ----------
    own
        The user's function; None draws the order from the seed and the stream.

    Raises
    ------
    InputError
        If the user's function does not return numbers of rows.
    """
    return epoch_order(seed, epoch, records, stream) if own is None else _checked(own(epoch, records), records)


def orders_of_epochs(
    own: Order | None, seed: int, epochs: range, records: int, stream: int, executable: Executable
) -> Any:
    """Return the orders of several epochs as an executable takes them; drawn, unless it takes what they follow from.

    Those of a user's function are checked together, if they can be.
    """
    if own is not None:
        return _own_orders(own, epochs, records)
    orders = epoch_orders(seed, epochs, records, stream)
    if isinstance(orders, SeededOrders):
        return orders if executable.takes_seeded_orders else np.asarray(orders)
    return orders if executable.takes_keyed_orders else np.stack([np.asarray(order) for order in orders])


def _own_orders(own: Order, epochs: range, records: int) -> npt.NDArray[np.int64]:
    drawn = [own(epoch, records) for epoch in epochs]
    if all(isinstance(rows, np.ndarray) and rows.dtype == np.int64 and rows.shape == (records,) for rows in drawn):
        whole: npt.NDArray[np.int64] = np.stack(drawn)
        if within(whole, records):
            return whole
    return np.stack([_checked(rows, records) for rows in drawn])


def _checked(rows: Any, records: int) -> npt.NDArray[np.int64]:
    order = np.asarray(rows)
    if order.shape != (records,) or order.dtype.kind not in "iu" or order.min() < 0 or order.max() >= records:
        raise InputError(f"order must return {records} numbers of rows, from 0 to {records - 1}, got {shown(rows)}")
    return order.astype(np.int64, copy=False)
