"""The solver "lbfgs": a fit by `minimise`, with a record for each iteration as for the epochs of the others."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from gdkernels.data.records import Records, place_records
from gdkernels.definition.network import Arrays
from gdkernels.definition.objective import Objective
from gdkernels.dispatch.binding import Binding
from gdkernels.estimators.descend import NOT_FINITE, USER
from gdkernels.estimators.fitted_network import FittedNetwork
from gdkernels.estimators.inputs import Given
from gdkernels.estimators.minimise import Place, minimise
from gdkernels.estimators.problem import Problem
from gdkernels.network import BoundNetwork
from gdkernels.training.history import Epoch
from gdkernels.training.progress import Progress
from gdkernels.training.solvers import Gradient

__all__ = ["Shown", "fit_by_lbfgs"]

_ASKED_FOR = 99  # SciPy's status where a callback ended it


def fit_by_lbfgs(estimator: Any, problem: Problem, live: FittedNetwork, given: Given, held_out: Given | None) -> None:
    """Minimise the loss of all records with its penalty, and leave `live` with the parameters found.

    It runs in float64 unless the estimator names a precision: small differences of the value steer its steps.
    """
    e, network = estimator, live.network
    objective = Objective(problem.loss, l2=float(e.alpha), l2_in_loss=True)
    network.train_for(objective)
    binding = network.bind(given.x)
    program = network.structure.program(objective, Gradient(), weighted=given.sample_weight is not None)
    shown = Shown(problem, objective, program.decaying)
    start = {name: binding.to_numpy(a) for name, a in network.parameters.items()}
    place = Place(network, given.x, lambda there: _placed(there, network, objective, given), wide=e.precision is None)
    validated = (
        None
        if held_out is None
        else Place(network, given.x, lambda there: _placed(there, network, objective, held_out))
    )
    with Progress(int(e.max_iter), e.progress) as bar, network.bound(given.x):
        result, found = minimise(
            program,
            place,
            start,
            max_iter=int(e.max_iter),
            max_fun=int(e.max_fun),
            tol=float(e.tol),
            each=_iteration(e, shown, network, place, validated, bar),
        )
    if not (math.isfinite(result.fun) and np.isfinite(result.x).all()):
        raise ValueError(NOT_FINITE)
    network.set_parameters(found)
    e.n_iter_, e.loss_ = min(result.nit, e.max_iter), shown(float(result.fun), found, place.records.total_weight)
    e.best_loss_ = e.loss_
    if result.status not in (0, _ASKED_FOR):
        warnings.warn(
            f"lbfgs failed to converge after {result.nit} iteration(s) (status={result.status}): {result.message}. "
            f"Increase max_iter ({e.max_iter}) or max_fun ({e.max_fun}), or scale the data",
            ConvergenceWarning,
            stacklevel=USER,
        )


class Shown:
    """The reported loss of a value and parameters: the penalty, and the loss of the records divided as in scikit-learn.

    What is minimised divides neither, so that value and gradient belong together.
    """

    def __init__(self, problem: Problem, objective: Objective, penalised: Collection[str]) -> None:
        self.loss, self._scale, self._l2 = Objective(problem.shown_loss), problem.loss_scale, objective.l2
        self._penalised = penalised

    def __call__(self, value: float, parameters: Arrays, total_weight: float) -> float:
        if self._scale == 1:
            return value
        squares = sum(float(np.vdot(a, a)) for name, a in parameters.items() if name in self._penalised)
        penalty = 0.5 * float(self._l2) * squares / total_weight
        return (value - penalty) / self._scale + penalty


def _placed(binding: Binding, network: BoundNetwork, objective: Objective, given: Given) -> Records:
    return place_records(binding, given.rows, given.targets, given.sample_weight, spec=network.expects(objective))


def _iteration(
    estimator: Any,
    shown: Shown,
    network: BoundNetwork,
    place: Place,
    validated: Place | None,
    bar: Progress,
) -> Callable[[int, float, Arrays], bool]:
    """Return what follows each iteration of the minimiser; it returns whether to stop."""
    e, began = estimator, time.perf_counter()
    if validated is not None:
        e.validation_loss_curve_ = []

    def ended(number: int, value: float, parameters: Arrays) -> bool:
        nonlocal began
        now, before = time.perf_counter(), began
        began = now
        validation = None
        if validated is not None:
            measured = validated

            def measure(_: Binding) -> float:
                network.set_parameters(parameters)
                return network.error(measured.records, shown.loss) / measured.records.total_weight

            validation = network.computing(place.x, measure)
            e.validation_loss_curve_.append(validation)
        records = place.records
        value = shown(value, parameters, records.total_weight)
        e.loss_curve_.append(value)
        if e.verbose:
            print(f"Iteration {number}, loss = {e.loss_curve_[-1]:.8f}")
        seconds = max(now - before, 1e-9)
        epoch = Epoch(number, value, validation, math.nan, seconds, len(records) / seconds)
        bar.update(epoch)
        asked = [callback(epoch) is True for callback in e.callbacks or ()]
        return any(asked)

    return ended
