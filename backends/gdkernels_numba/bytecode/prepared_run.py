"""A run whose arguments are checked, ready for a bound step."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.backend import State
from gdkernels_numba.bytecode.bound_step import BoundStep
from gdkernels_numba.orders import RunOrders

__all__ = ["PreparedRun"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class PreparedRun:
    """The epochs of a state, ready to run.

    Attributes
    ----------
    bound
        Where they run.
    arrays, records, times, scalars
        As for `BoundStep.run`.
    orders
        The rows to use, which may yet have to be drawn.
    with_norm
        Whether the norm of the gradient is asked for.
    """

    bound: BoundStep
    state: State
    arrays: Mapping[str, Array]
    orders: RunOrders
    records: int
    times: tuple[int, int]
    scalars: dict[str, npt.NDArray[np.float64] | float]
    with_norm: bool

    def ended(self, results: npt.NDArray[np.float64]) -> list[tuple[float, float | None]]:
        """Count the steps, and return what `Executable.run_epochs` does, from the sums of each epoch."""
        epochs, steps = self.times
        self.state.step += epochs * steps
        return [(e, n / steps if self.with_norm else None) for e, n in results.tolist()]
