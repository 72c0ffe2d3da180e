"""L-BFGS: SciPy's minimiser over the value and the gradient of a program."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.backend import State
from gdkernels.backend.program import Program
from gdkernels.data.records import Records
from gdkernels.data.sparse import taking
from gdkernels.definition.network import Arrays
from gdkernels.dispatch.binding import Binding

__all__ = ["minimise"]

Vector = npt.NDArray[np.float64]


class _Objective:
    """E/B of all the records, and its gradient, of all the parameters in one vector.

    Parameters
    ----------
    program
        With the optimizer `rules.Gradient`: a step of it changes nothing, and leaves the gradient in the slots.
    """

    def __init__(self, program: Program, binding: Binding, records: Records) -> None:
        self._executable, self._binding = taking(records.x, binding.executable(program), program, binding), binding
        self._arrays = records.x, records.y
        self._weights = () if records.weights is None else (records.weights,)
        self._shapes = {name: program.parameters[name].shape for name in program.trained}
        self._order = np.arange(len(records))
        self._share = 1.0 / records.total_weight

    def __call__(self, vector: Vector) -> tuple[float, Vector]:
        parameters = {name: self._binding.place(a, "parameters") for name, a in self.split(vector).items()}
        state = State(parameters, {name: (self._binding.xp.zeros_like(a),) for name, a in parameters.items()})
        order = self._order
        error, _ = self._executable.run(state, *self._arrays, order, len(order), np.ones(1), *self._weights)
        gradients = [self._binding.to_numpy(a).ravel() for (a,) in state.slots.values()]
        return error * self._share, np.concatenate(gradients).astype(np.float64, copy=False)

    def split(self, vector: Vector) -> dict[str, Any]:
        """Return the parts of a vector by the names of the parameters, without copying."""
        parts, start = {}, 0
        for name, shape in self._shapes.items():
            end = start + math.prod(shape)
            parts[name], start = vector[start:end].reshape(shape), end
        return parts


def minimise(
    program: Program,
    binding: Binding,
    start: Arrays,
    records: Records,
    *,
    max_iter: int,
    max_fun: int,
    tol: float,
    each: Callable[[int, float, Arrays], bool],
) -> tuple[Any, dict[str, Any]]:
    """Minimise E/B of the records, from `start` on (Byrd et al. 1995; SciPy's L-BFGS-B without bounds).

    Parameters
    ----------
    start
        NumPy arrays.
    records
        On the device.
    max_iter, max_fun, tol
        The largest number of iterations and of evaluations; where no entry of the gradient is larger, it ends.
    each
        Called after each iteration with its number, the value and the parameters; it returns whether to stop.

    Returns
    -------
    tuple
        SciPy's result, and the parameters as float64 NumPy arrays.
    """
    from scipy.optimize import OptimizeResult, minimize

    objective = _Objective(program, binding, records)
    done = 0

    def callback(intermediate_result: OptimizeResult) -> None:
        nonlocal done
        done += 1
        if each(done, float(intermediate_result.fun), objective.split(intermediate_result.x)):
            raise StopIteration

    vector = np.concatenate([np.asarray(a, np.float64).ravel() for a in start.values()])
    options = {"maxiter": max_iter, "maxfun": max_fun, "gtol": tol}
    result = minimize(objective, vector, jac=True, method="L-BFGS-B", options=options, callback=callback)
    return result, objective.split(result.x)
