"""L-BFGS: SciPy's minimiser over the value and the gradient of a program."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.backend.program import Program
from gdkernels.data.records import Records
from gdkernels.definition.network import Arrays
from gdkernels.dispatch.binding import Binding
from gdkernels.errors import BackendError
from gdkernels.network import BoundNetwork
from gdkernels.training.solvers import ValueAndGradient
from gdkernels.training.solvers.value import check_draws_nothing, named_parts

__all__ = ["Place", "minimise"]

Vector = npt.NDArray[np.float64]


class Place:
    """The records where a network computes; placed anew where that is elsewhere.

    Parameters
    ----------
    network
        What says where.
    X
        The user's data, whose device decides that.
    put
        Places the records for a binding.
    wide
        Whether to compute in float64, where the backend can.
    """

    def __init__(self, network: BoundNetwork, X: Any, put: Callable[[Binding], Records], *, wide: bool = False) -> None:
        self._network, self.x, self._put, self._wide = network, X, put, wide
        self._of: Binding | None = None
        self._records: Records | None = None

    @property
    def binding(self) -> Binding:
        binding = self._network.bind(self.x)
        wide = self._wide and "float64" in binding.backend.precisions
        return replace(binding, precision="float64") if wide else binding

    @property
    def records(self) -> Records:
        if self._records is None or self._of is not self._network.binding:
            self._of, self._records = self._network.binding, self._put(self.binding)
        return self._records

    def current(self) -> AbstractContextManager[Any]:
        """Return a context in which its device is the current one."""
        return self._network.bound(self.x)

    def elsewhere(self, error: BackendError) -> bool:
        """Move to the next backend after an error of this one; return whether there is one."""
        return self._network.leave(error, self.x)


class _Objective:
    """E/B of all the records, and its gradient, of all the parameters in one vector.

    Parameters
    ----------
    program
        With the optimizer `Gradient`: a step of it changes nothing, and leaves the gradient in the slots.
    start
        The initial values of the parameters, and the constants.
    """

    def __init__(self, program: Program, place: Place, start: Arrays) -> None:
        self._program, self._place = program, place
        self._constants = {name: start[name] for name in start if name not in program.trained}
        self._ready: tuple[Records, ValueAndGradient, float] | None = None

    def __call__(self, vector: Vector) -> tuple[float, Vector]:
        while True:
            try:
                with self._place.current():
                    return self._here(vector)
            except BackendError as error:  # what is minimised is on the host: nothing is lost
                if not self._place.elsewhere(error):
                    raise

    def _here(self, vector: Vector) -> tuple[float, Vector]:
        records, binding = self._place.records, self._place.binding
        if self._ready is None or self._ready[0] is not records:
            ready = ValueAndGradient(self._program, binding, self._constants)
            self._ready = records, ready, 1.0 / records.total_weight
        _, at, share = self._ready
        error, gradient = at(vector, records)
        return error * share, gradient

    def named(self, vector: Vector) -> dict[str, Any]:
        """Return the parts of a vector by the names of the parameters, without copying, and the constants."""
        return {**named_parts(vector, self._program), **self._constants}


def minimise(
    program: Program,
    place: Place,
    start: Arrays,
    *,
    max_iter: int,
    max_fun: int,
    tol: float,
    each: Callable[[int, float, Arrays], bool],
) -> tuple[Any, dict[str, Any]]:
    """Minimise E/B of the records, from `start` on (Byrd et al. 1995; SciPy's L-BFGS-B without bounds).

    Parameters
    ----------
    place
        Where it is computed: the records there.
    start
        NumPy arrays by name, constants among them.
    max_iter, max_fun, tol
        The largest number of iterations and of evaluations; where no entry of the gradient is larger, it ends.
    each
        Called after each iteration with its number, the value and the parameters; it returns whether to stop.

    Returns
    -------
    tuple
        SciPy's result, and the parameters as float64 NumPy arrays, beside the constants.
    """
    from scipy.optimize import OptimizeResult, minimize

    check_draws_nothing(program, "L-BFGS")
    objective = _Objective(program, place, start)
    done = 0

    def callback(intermediate_result: OptimizeResult) -> None:
        nonlocal done
        done += 1
        if each(done, float(intermediate_result.fun), objective.named(intermediate_result.x)):
            raise StopIteration

    vector = np.concatenate([np.asarray(start[name], np.float64).ravel() for name in program.trained])
    options = {"maxiter": max_iter, "maxfun": max_fun, "gtol": tol}
    result = minimize(objective, vector, jac=True, method="L-BFGS-B", options=options, callback=callback)
    return result, objective.named(result.x)
