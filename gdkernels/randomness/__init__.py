"""Random numbers, each named by what it is for, so that every backend begins with the same bits and sees the same.

NumPy draws on the host, from a stream, what is drawn once or once an epoch: weights, splits, orders of few records. The
order of many records, and what blocks draw in each step, is a hash of where it is used, wherever the step runs. The
rooms that draw decide what.
"""

from gdkernels.randomness.counter_based import RandomNumbers, row_keys
from gdkernels.randomness.generators import checked_seed, generator
from gdkernels.randomness.keyed_order import KEYED_ABOVE, ORDER_STREAM, KeyedOrder, epoch_order, epoch_orders
from gdkernels.randomness.seeded_orders import SeededOrders

__all__ = [
    "KEYED_ABOVE", "ORDER_STREAM", "KeyedOrder", "RandomNumbers", "SeededOrders", "checked_seed", "epoch_order",
    "epoch_orders", "generator", "row_keys",
]  # fmt: skip
