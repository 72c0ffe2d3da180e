"""An executable that is compared with the definition before it is believed, for backends that compile in one way."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.backend import Backend, Executable, Plan, State
from gdkernels.backend.arguments import check_prediction, check_run
from gdkernels.backend.program import Program
from gdkernels.checking.check import Call, SelfCheck
from gdkernels.checking.ways import Way, Ways
from gdkernels.definition.network import Arrays

__all__ = ["CheckedExecutable"]


class CheckedExecutable(Executable):
    """Runs compiled code if it does what the definition does, and the definition if it does not.

    Parameters
    ----------
    compiled
        The executable that is compiled for this program and plan.
    name
        Its name in warnings.

    Attributes
    ----------
    ways
        The one of the two that runs, and the reason.
    """

    checks_itself = True

    def __init__(self, backend: Backend, program: Program, plan: Plan, compiled: Executable, name: str) -> None:
        self._program, self._compiled = program, compiled
        self._ways = (Way(name, compiled, (compiled,)),)
        self._last = compiled
        last = {**plan.choices, **backend.choices()}
        self.ways = Ways(SelfCheck(backend, program, plan), backend, program, plan, last=last)

    @property
    def origin(self) -> str:  # type: ignore[override]
        return self._last.origin

    @property
    def plan(self) -> Plan:  # type: ignore[override]
        return self._last.plan

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
        check_run(self._program, state.parameters, x, y, order, batch_size, learning_rates, sample_weight)
        call = Call(state, x, y, np.asarray(order), min(batch_size, len(order)), learning_rates, sample_weight)
        self._last = self.ways.believed(self._ways, call)
        weights = () if sample_weight is None else (sample_weight,)
        return self._last.run(state, x, y, order, batch_size, learning_rates, *weights)

    def predict(self, parameters: Arrays, x: Any) -> Any:
        check_prediction(self._program, parameters, x)
        if not x.shape[0]:
            return self._compiled.predict(parameters, x)
        return self.ways.prediction(self._ways, parameters, x)

    def workspace(self, batch_size: int) -> int:
        return self._last.workspace(batch_size)
