"""A batch in parts: sum the gradients over the parts, then take one step; the result is that of the whole batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from gdkernels.backend import Backend, Executable, Plan, State
from gdkernels.backend.arguments import check_run
from gdkernels.backend.definition_executable import bind
from gdkernels.backend.program import Program
from gdkernels.definition.network import Arrays, step_along
from gdkernels.definition.objective import Objective
from gdkernels.definition.optimizers import Optimizer

__all__ = ["AccumulatingExecutable", "in_steps", "summing", "take_step"]


@dataclass(frozen=True)
class _Sum(Optimizer):
    """A rule that moves nothing and adds up the gradients: any backend then sums them as fast as it trains."""

    learning_rate: float = 0.0
    slots: ClassVar[int] = 1

    def rule(self, w: Any, g: Any, slots: tuple[Any, ...], *, learning_rate: Any, t: Any, xp: Any) -> Any:
        return w, (slots[0] + g,)


def summing(program: Program) -> Program:
    """Return the program that adds up the gradients of E in its slots, and moves nothing."""
    if program.objective is None:
        return program
    alone = Objective(program.objective.loss, reduction="sum")
    return replace(program, objective=alone, optimizer=_Sum(), gradient_norm=False, part_of_batch=True)


def in_steps(
    step: Callable[[npt.NDArray[np.int64], float], tuple[float, float]],
    order: npt.NDArray[np.int64],
    batch_size: int,
    learning_rates: npt.NDArray[np.float64],
) -> tuple[float, float]:
    """Call `step` with the rows and the rate of each batch; return the sum of E and the mean norm of the gradients."""
    total, norms = 0.0, 0.0
    for k, rate in enumerate(learning_rates):
        error, norm = step(order[k * batch_size : (k + 1) * batch_size], float(rate))
        total, norms = total + error, norms + norm
    return total, norms / max(1, len(learning_rates))


def take_step(
    program: Program, state: State, error: float, sums: Arrays, *, total_weight: float, rate: float, xp: Any
) -> tuple[float, float]:
    """Take the step of a batch whose gradient was summed, and return what `Executable.run` does for it.

    Parameters
    ----------
    error, sums
        E without the penalty, and its gradient, over the records of the batch.
    total_weight
        The sum of their weights, or how many there are.
    """
    assert program.objective is not None
    assert program.optimizer is not None
    share = 1.0 / (total_weight or 1.0) if program.objective.reduction == "mean" else None
    gradients = sums if share is None else {name: g * share for name, g in sums.items()}
    del sums
    found, norm, state.parameters, state.slots = step_along(
        state.parameters,
        state.slots,
        error,
        gradients,
        decaying=program.decaying,
        per_record=share if program.objective.l2_in_loss else None,
        objective=program.objective,
        optimizer=program.optimizer,
        learning_rate=rate,
        t=float(state.step + 1),
        with_norm=program.gradient_norm,
        xp=xp,
    )
    state.step += 1
    return float(found), 0.0 if norm is None else float(norm)


class AccumulatingExecutable(Executable):
    """Runs a program with so many `rows` of a batch at a time.

    The backend's executable computes the gradient of each part. The definition computes the step from their sum, on the
    backend's namespace.
    """

    def __init__(self, backend: Backend, program: Program, plan: Plan, rows: int) -> None:
        self._backend, self._program, self._rows = backend, program, rows
        self._parts = bind(backend, summing(program), plan)
        self.origin = self._parts.origin
        self._tell()

    def _tell(self) -> None:
        plan = self._parts.plan
        self.plan = replace(plan, choices={**plan.choices, "rows_at_a_time": self._rows})

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
        with self._backend.on_device(self.plan.device), np.errstate(all="ignore"):
            total, norm = in_steps(
                lambda batch, rate: self._step(state, x, y, batch, rate, sample_weight),
                order,
                batch_size,
                learning_rates,
            )
        self._tell()
        return total, norm if self._program.gradient_norm else None

    def _step(
        self, state: State, x: Any, y: Any, batch: npt.NDArray[np.int64], rate: float, sample_weight: Any
    ) -> tuple[float, float]:
        """Take the step of a batch, and return E before it and the norm of the gradient, or 0 if none is wanted."""
        xp = self._backend.xp
        weights = () if sample_weight is None else (sample_weight,)
        zeros = {name: (xp.zeros_like(state.parameters[name]),) for name in self._program.trained}
        sums = replace(state, parameters=dict(state.parameters), slots=zeros)
        parts = np.zeros(-(-len(batch) // self._rows))
        error, _ = self._parts.run(sums, x, y, batch, self._rows, parts, *weights)
        gradients = {name: slots[0] for name, slots in sums.slots.items()}
        return take_step(
            self._program, state, error, gradients, total_weight=self._weight(sample_weight, batch), rate=rate, xp=xp
        )

    def _weight(self, sample_weight: Any, batch: npt.NDArray[np.int64]) -> float:
        if sample_weight is None:
            return float(len(batch))
        xp = self._backend.xp
        rows = self._backend.asarray(batch, dtype="int64", device=self.plan.device)
        return float(xp.sum(xp.take(sample_weight, rows, axis=0)))

    def predict(self, parameters: Arrays, x: Any) -> Any:
        return self._parts.predict(parameters, x)
