"""What is compared with the definition before batches are believed: a model between others that differ from it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.backend import Executable, Job, State
from gdkernels.definition.network import Arrays
from gdkernels_cupy.batches.executable import BatchedExecutable

__all__ = ["BetweenOthers"]

_MODELS = 3
_OTHERS = 0.5  # of the parameters and rates of the model that is looked at


class BetweenOthers(Executable):
    """A model at one place of a small batch: whoever mixes models up, or their rates or orders, shows.

    Parameters
    ----------
    place
        That of the model among others.
    """

    origin = "compiled"

    def __init__(self, batched: BatchedExecutable, place: int) -> None:
        self.plan, self._batched, self._place = batched.plan, batched, place

    def run(
        self,
        state: State,
        x: Any,
        y: Any,
        order: npt.NDArray[np.int64],
        batch_size: int,
        learning_rates: npt.NDArray[np.float64],
        sample_weight: Any = None,
    ) -> tuple[float, float | None]:
        order, rates = np.asarray(order)[None], np.asarray(learning_rates)[None]
        jobs = []
        for place in range(_MODELS):
            mine = place == self._place
            at = state if mine else replace(state, parameters={n: _OTHERS * a for n, a in state.parameters.items()})
            given = order if mine else order[:, ::-1], batch_size, rates if mine else _OTHERS * rates
            jobs.append((self._batched, Job(self._batched, at, x, y, *given, sample_weight)))
        return self._batched.together(jobs)[self._place][0]

    def predict(self, parameters: Arrays, x: Any) -> Any:
        return self._batched.predict(parameters, x)
