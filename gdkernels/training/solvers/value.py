"""The loss of all records and its gradient, as a function of one vector: what a minimiser asks for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from gdkernels.backend import Executable, State
from gdkernels.backend.program import Program
from gdkernels.data.records import Records
from gdkernels.data.taking_sparse import taking
from gdkernels.definition.optimizers import Optimizer, Slots
from gdkernels.dispatch.binding import Binding
from gdkernels.errors import InputError
from gdkernels.training.solvers.outcome import Vector

__all__ = ["Gradient", "ValueAndGradient", "check_draws_nothing", "named_parts"]


@dataclass(frozen=True)
class Gradient(Optimizer):
    """Leaves the parameters as they are, and the gradient, times the rate, in the slot: how a minimiser asks for it."""

    learning_rate: float = 1.0
    slots: ClassVar[int] = 1

    def rule(self, w: Any, g: Any, slots: Slots, *, learning_rate: Any, t: Any, xp: Any) -> tuple[Any, Slots]:
        return w, (learning_rate * g,)


class ValueAndGradient:
    """E/B of records, and its gradient, of all the parameters in one vector.

    Parameters
    ----------
    program
        With the optimizer `Gradient`: a step of it changes nothing, and leaves the gradient in the slots.
    binding
        Where it is computed.
    constants
        The arrays that training leaves alone.
    executable
        What runs the program; None has the binding make one.
    """

    def __init__(
        self,
        program: Program,
        binding: Binding,
        constants: Mapping[str, Any],
        executable: Executable | None = None,
    ) -> None:
        self._program, self._binding, self._constants = program, binding, constants
        self.executable = executable or binding.executable(program)

    def __call__(self, vector: Vector, records: Records) -> tuple[float, Vector]:
        """Return E, and the gradient of E/B, of records that are there."""
        binding, program = self._binding, self._program
        given = {**named_parts(vector, program), **self._constants}
        parameters = {name: binding.place(a, "parameters") for name, a in given.items()}
        slots = {name: (binding.xp.zeros_like(parameters[name]),) for name in program.trained}
        state, order = State(parameters, slots), np.arange(len(records))
        weights = () if records.weights is None else (records.weights,)
        executable = taking(records.x, self.executable, program, binding)
        error, _ = executable.run(state, records.x, records.y, order, len(order), np.ones(1), *weights)
        gradients = [binding.to_numpy(a).ravel() for (a,) in state.slots.values()]
        return error, np.concatenate(gradients).astype(np.float64, copy=False)


def named_parts(vector: Vector, program: Program) -> dict[str, Any]:
    """Return the parts of a vector by the names of the parameters that are trained, without copying."""
    parts, start = {}, 0
    for name in program.trained:
        shape = program.shapes[name]
        end = start + math.prod(shape)
        parts[name], start = vector[start:end].reshape(shape), end
    return parts


def check_draws_nothing(program: Program, solver: str) -> None:
    """Raise `InputError` for a network whose loss is another one each time."""
    if program.draws:
        raise InputError(
            f"{solver} needs a loss that is the same each time, and this network draws random numbers in training, as "
            "Dropout does; use another solver"
        )
