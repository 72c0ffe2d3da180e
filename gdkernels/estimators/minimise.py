"""L-BFGS: SciPy's minimiser over the value and the gradient of a program."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.backend import State
from gdkernels.backend.program import Program
from gdkernels.data.records import Records
from gdkernels.data.sparse import taking
from gdkernels.definition.network import Layer, Layers
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

    def __init__(self, program: Program, binding: Binding, sizes: tuple[int, ...], records: Records) -> None:
        self._executable, self._binding = taking(records.x, binding.executable(program), program, binding), binding
        self._arrays = records.x, records.y
        self._weights = () if records.weights is None else (records.weights,)
        self._shapes = [((m, n), (n,)) for m, n in pairwise(sizes)]
        self._order = np.arange(len(records))
        self._share = 1.0 / records.total_weight

    def __call__(self, vector: Vector) -> tuple[float, Vector]:
        parameters = tuple(
            Layer(*(self._binding.place(a, "parameters") for a in layer)) for layer in self.split(vector)
        )
        slots = tuple(Layer(*((self._binding.xp.zeros_like(a),) for a in layer)) for layer in parameters)
        state = State(parameters, slots)
        order = self._order
        error, _ = self._executable.run(state, *self._arrays, order, len(order), np.ones(1), *self._weights)
        gradients = [self._binding.to_numpy(a).ravel() for layer in state.slots for (a,) in layer]
        return error * self._share, np.concatenate(gradients).astype(np.float64, copy=False)

    def split(self, vector: Vector) -> tuple[Layer, ...]:
        """Return the parts of a vector as they stand in the network, without copying."""
        layers, start = [], 0
        for W, b in self._shapes:
            middle = start + W[0] * W[1]
            layers.append(Layer(vector[start:middle].reshape(W), vector[middle : middle + b[0]]))
            start = middle + b[0]
        return tuple(layers)


def minimise(
    program: Program,
    binding: Binding,
    start: Layers,
    records: Records,
    *,
    max_iter: int,
    max_fun: int,
    tol: float,
    each: Callable[[int, float, Layers], bool],
) -> tuple[Any, Layers]:
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

    sizes = (start[0].W.shape[0], *(layer.W.shape[1] for layer in start))
    objective = _Objective(program, binding, sizes, records)
    done = 0

    def callback(intermediate_result: OptimizeResult) -> None:
        nonlocal done
        done += 1
        if each(done, float(intermediate_result.fun), objective.split(intermediate_result.x)):
            raise StopIteration

    vector = np.concatenate([np.asarray(a, np.float64).ravel() for layer in start for a in layer])
    options = {"maxiter": max_iter, "maxfun": max_fun, "gtol": tol}
    result = minimize(objective, vector, jac=True, method="L-BFGS-B", options=options, callback=callback)
    return result, objective.split(result.x)
