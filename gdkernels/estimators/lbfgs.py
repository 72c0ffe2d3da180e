"""The solver "lbfgs": a fit by `minimise`, with a record for each iteration as for the epochs of the others."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from gdkernels.data.records import Records, place_records
from gdkernels.definition.network import Layer, Layers
from gdkernels.definition.objective import Objective
from gdkernels.dispatch.binding import Binding
from gdkernels.estimators.descend import NOT_FINITE, USER
from gdkernels.estimators.fitted_network import FittedNetwork
from gdkernels.estimators.inputs import Given
from gdkernels.estimators.minimise import minimise
from gdkernels.estimators.problem import Problem
from gdkernels.estimators.rules import Gradient
from gdkernels.network import BoundNetwork
from gdkernels.training.history import Epoch
from gdkernels.training.progress import Progress

__all__ = ["fit_by_lbfgs"]

_ASKED_FOR = 99  # SciPy's status where a callback ended it


def fit_by_lbfgs(estimator: Any, problem: Problem, live: FittedNetwork, given: Given, held_out: Given | None) -> None:
    """Minimise the loss of all records with its penalty, and leave `live` with the parameters found.

    It runs in float64 unless the estimator names a precision: small differences of the value steer its steps.
    """
    e, network = estimator, live.network
    objective = Objective(problem.loss, l2=float(e.alpha), l2_in_loss=True)
    network.train_for(objective)
    binding = network.bind(given.x)
    if e.precision is None and "float64" in binding.backend.precisions:
        binding = replace(binding, precision="float64")
    program = network.structure.program(objective, Gradient(), weighted=given.sample_weight is not None)
    start = tuple(Layer(*map(binding.to_numpy, layer)) for layer in network.parameters)
    with Progress(int(e.max_iter), e.progress) as bar, network.bound(given.x) as own:
        records = _placed(binding, network, objective, given)
        validated = None if held_out is None else _placed(own, network, objective, held_out)
        result, found = minimise(
            program,
            binding,
            start,
            records,
            max_iter=int(e.max_iter),
            max_fun=int(e.max_fun),
            tol=float(e.tol),
            each=_iteration(e, problem, network, records, validated, bar),
        )
    if not (math.isfinite(result.fun) and np.isfinite(result.x).all()):
        raise ValueError(NOT_FINITE)
    network.set_parameters(found)
    e.n_iter_, e.loss_ = min(result.nit, e.max_iter), float(result.fun) / problem.loss_scale
    e.best_loss_ = e.loss_
    if result.status not in (0, _ASKED_FOR):
        warnings.warn(
            f"lbfgs failed to converge after {result.nit} iteration(s) (status={result.status}): {result.message}. "
            f"Increase max_iter ({e.max_iter}) or max_fun ({e.max_fun}), or scale the data",
            ConvergenceWarning,
            stacklevel=USER,
        )


def _placed(binding: Binding, network: BoundNetwork, objective: Objective, given: Given) -> Records:
    return place_records(binding, given.x, given.targets, given.sample_weight, spec=network.expects(objective))


def _iteration(
    estimator: Any,
    problem: Problem,
    network: BoundNetwork,
    records: Records,
    validated: Records | None,
    bar: Progress,
) -> Callable[[int, float, Layers], bool]:
    """Return what follows each iteration of the minimiser; it returns whether to stop."""
    e, began = estimator, time.perf_counter()
    if validated is not None:
        e.validation_loss_curve_ = []

    def ended(number: int, value: float, parameters: Layers) -> bool:
        nonlocal began
        now, before = time.perf_counter(), began
        began = now
        validation = None
        if validated is not None:
            network.set_parameters(parameters)
            validation = network.error(validated) / validated.total_weight
            e.validation_loss_curve_.append(validation / problem.loss_scale)
        e.loss_curve_.append(value / problem.loss_scale)
        if e.verbose:
            print(f"Iteration {number}, loss = {e.loss_curve_[-1]:.8f}")
        seconds = max(now - before, 1e-9)
        epoch = Epoch(number, value, validation, math.nan, seconds, len(records) / seconds)
        bar.update(epoch)
        asked = [callback(epoch) is True for callback in e.callbacks or ()]
        return any(asked)

    return ended
