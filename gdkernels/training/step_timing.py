"""The time of a rank's own part of a step, measured before training on a copy of its state."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from gdkernels.backend import Executable, State
from gdkernels.backend.sharded_executable import Sharded, Spent
from gdkernels.data.records import Records
from gdkernels.groups import Group
from gdkernels.randomness import epoch_order

__all__ = ["seconds_of_a_step"]

_ENOUGH = 0.05  # seconds after which no further step is timed
_MOST = 5  # steps


def seconds_of_a_step(group: Group, executable: Executable, state: State, train: Any, batch_size: int) -> float | None:
    """Return the seconds in which the slowest rank computes its shards of a step, without the exchange.

    All ranks ask together. Steps come in the order of an epoch, which takes longer than one row after the other, and
    their part of drawing that order counts. The state stays as it is; None stands for records that are not in memory.
    """
    if not isinstance(executable, Sharded) or not isinstance(train, Records) or train.sparse:
        return None
    batch, copied = min(batch_size, len(train)), state.copy(train.binding.xp)
    began = time.perf_counter()
    drawn = epoch_order(state.seed, 0, len(train))
    order: Any = drawn[:batch] if executable.takes_keyed_orders else np.asarray(drawn)[:batch]
    drawing = (time.perf_counter() - began) * batch / len(train)
    weights = () if train.weights is None else (train.weights,)
    times: list[float] = []
    while len(times) <= 1 or (sum(times[1:]) < _ENOUGH and len(times) <= _MOST):  # the first one makes things ready
        executable.spent = Spent()
        executable.run(copied, train.x, train.y, order, batch, np.zeros(1), *weights)
        own = executable.spent.whole - executable.spent.exchanging + drawing
        times.append(float(group.gather_numbers([own]).max()))
    executable.spent = Spent()
    return min(times[1:])
