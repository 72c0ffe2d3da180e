"""The solvers that a trainer has: a fit by iterations over all records, told as scikit-learn tells its own."""

from __future__ import annotations

import dataclasses
import math
import warnings
from typing import Any

from sklearn.exceptions import ConvergenceWarning

from gdkernels.definition.objective import Objective
from gdkernels.definition.solvers import LevenbergMarquardt, Solver
from gdkernels.dispatch.shared_executables import shared
from gdkernels.estimators.descend import NOT_FINITE, USER
from gdkernels.estimators.fitted_network import FittedNetwork
from gdkernels.estimators.inputs import Given
from gdkernels.estimators.lbfgs import Shown
from gdkernels.estimators.parameters import solver_name
from gdkernels.estimators.problem import Problem
from gdkernels.training.history import Epoch, StopReason
from gdkernels.training.trainer import Trainer

__all__ = ["fit_by_solver"]


def fit_by_solver(estimator: Any, problem: Problem, live: FittedNetwork, given: Given, held_out: Given | None) -> None:
    """Train `live` by the estimator's solver on all records, with the penalty `alpha` unless it chooses its own."""
    e, network = estimator, live.network
    solver: Solver = LevenbergMarquardt(gradient_tolerance=float(e.tol)) if e.solver == "lm" else e.solver
    chooses = isinstance(solver, LevenbergMarquardt) and solver.bayes
    objective = Objective(problem.loss, l2=0.0 if chooses else float(e.alpha), l2_in_loss=True)
    trainer = Trainer(live.model, loss=objective.loss, l2=objective.l2, l2_in_loss=True, solver=solver)
    shown = Shown(problem, objective, network.structure.program().decaying)
    weight = given.total_weight()
    if held_out is not None:
        e.validation_loss_curve_ = []

    def told(epoch: Epoch) -> bool:
        loss = shown(epoch.loss, network.host_parameters(), weight)
        e.loss_curve_.append(loss)
        if held_out is not None:
            e.validation_loss_curve_.append(epoch.validation_loss)
        if e.verbose:
            print(f"Iteration {epoch.number}, loss = {loss:.8f}")
        shown_epoch = dataclasses.replace(epoch, loss=loss)
        asked = [callback(shown_epoch) is True for callback in e.callbacks or ()]  # each is called
        return any(asked)

    try:
        history = trainer.fit(
            **given.as_training(),
            epochs=int(e.max_iter),
            validation=None if held_out is None else held_out.as_validation(),
            callbacks=[told],
            progress=e.progress,
        )
    finally:
        if shared() is not None:
            trainer.runner.give_back()
    if history.diverged and not history.epochs:
        raise ValueError(NOT_FINITE)
    e.n_iter_, e.loss_ = len(history.epochs), e.loss_curve_[-1] if e.loss_curve_ else math.nan
    e.best_loss_ = e.loss_
    if history.diverged or history.ended_by(StopReason.ALL_EPOCHS):
        warnings.warn(
            f"{solver_name(e)} failed to converge after {e.n_iter_} iteration(s): {history.stopped}. Increase max_iter "
            f"({e.max_iter}), or scale the data",
            ConvergenceWarning,
            stacklevel=USER,
        )
