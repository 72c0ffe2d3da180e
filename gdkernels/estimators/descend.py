"""The stochastic solvers: scikit-learn's rules as settings of a `gdkernels.Trainer`, and what follows its epochs."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import get_scorer

from gdkernels.dispatch.shared_executables import shared
from gdkernels.estimators.fitted_network import FittedNetwork
from gdkernels.estimators.inputs import Given, Passes, split_rows
from gdkernels.estimators.kept_network import carried_by
from gdkernels.estimators.orders import Orders
from gdkernels.estimators.problem import Problem
from gdkernels.estimators.reported_loss import ReportedLoss
from gdkernels.estimators.stopping import EpochFollower
from gdkernels.groups import Group, joined
from gdkernels.training.history import Epoch, History, StopReason
from gdkernels.training.settings import Settings
from gdkernels.training.trainer import Trainer

__all__ = ["NOT_FINITE", "USER", "descend"]

USER = 6  # frames from a warning in a solver to who called fit

NOT_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and need to be preprocessed."
)


def descend(
    estimator: Any,
    problem: Problem,
    live: FittedNetwork,
    train: Given | Passes,
    held_out: Given | None,
    random: np.random.RandomState,
    *,
    incremental: bool,
) -> None:
    """Train `live` as the estimator's parameters have it; for one epoch where it is `incremental`."""
    e = estimator
    if e.early_stopping and held_out is None:
        if isinstance(train, Passes):
            raise ValueError("early_stopping on batches needs validation data: fit(batches, X_val=…, y_val=…)")
        rows = split_rows(train.records, e.validation_fraction, random, problem.strata(train))
        train, held_out = train.take(rows[0]), train.take(rows[1])
    if held_out is not None and e.validation_loss_curve_ is None:
        e.validation_loss_curve_ = []
    if not (incremental and hasattr(e, "learning_rate_")):
        e.learning_rate_ = float(e.learning_rate_init)
    e.n_iter_ = 0

    # Where training goes on from parameters with a score, these are the ones to beat.
    best = [live.model.parameters] if e.early_stopping and e.best_validation_score_ > -math.inf else []
    evaluate = None
    if e.early_stopping and held_out is not None:
        evaluate = _of_rank_0(_evaluation(e, problem, live, held_out), joined(e.group))
    size = _batch_size(e, train)
    reported = ReportedLoss(train, size)
    orders = Orders(train.records, random if e.shuffle else None, reported.begin)
    descent = EpochFollower(
        e, problem, train, reported, orders, evaluate, lambda: best.__setitem__(slice(None), [live.model.parameters])
    )
    trainer = _trainer(e, problem, live, size, incremental=incremental)
    trainer.runner.order = orders
    trainer.runner.each_step = reported.step if reported.differs else None

    def told(callback: Callable[[Epoch], Any]) -> Callable[[Epoch], Any]:
        return lambda epoch: callback(dataclasses.replace(epoch, loss=e.loss_))

    try:
        history = trainer.fit(
            **train.as_training(),
            epochs=1 if incremental else int(e.max_iter),
            validation=None if held_out is None else held_out.as_validation(),
            callbacks=[descent, *map(told, e.callbacks or ())],
            progress=e.progress,
        )
    except KeyboardInterrupt:
        warnings.warn("Training interrupted by user.", stacklevel=USER)
    else:
        _conclude(e, live, train, history, descent, incremental=incremental)
    finally:
        trainer.runner.order = trainer.runner.each_step = None  # they know the records, which are not the estimator's
        if shared() is not None:
            trainer.runner.give_back()
    if descent.fell_back:
        warnings.warn(descent.fell_back, stacklevel=USER)
    if best:
        live.model.set_parameters(best[0])


def _conclude(
    estimator: Any,
    live: FittedNetwork,
    train: Given | Passes,
    history: History,
    descent: EpochFollower,
    *,
    incremental: bool,
) -> None:
    """Say how training ended."""
    if history.diverged:
        first = train.first if isinstance(train, Passes) else train
        if not (history.epochs or math.isfinite(live.model.loss(first.rows, first.targets))):
            raise ValueError(NOT_FINITE)
        descent.diverged()
        warnings.warn(history.stopped, ConvergenceWarning, stacklevel=USER + 1)
    elif (
        not incremental  # one epoch is what was asked for
        and history.stop is not None
        and history.stop.reason is StopReason.ALL_EPOCHS
        and estimator.n_iter_ == estimator.max_iter
    ):
        warnings.warn(
            f"Stochastic Optimizer: Maximum iterations ({estimator.max_iter}) reached and the optimization hasn't "
            "converged yet.",
            ConvergenceWarning,
            stacklevel=USER + 1,
        )


def _batch_size(estimator: Any, train: Given | Passes) -> int:
    e, records = estimator, max(1, train.records)
    size = min(200, records) if e.batch_size == "auto" else int(e.batch_size)
    if size > records and isinstance(train, Given):
        warnings.warn(
            "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped", stacklevel=USER + 1
        )
    return min(size, records)


def _trainer(estimator: Any, problem: Problem, live: FittedNetwork, size: int, *, incremental: bool) -> Trainer:
    """Return a trainer by scikit-learn's rules, in `partial_fit` the one of the call before if it still fits."""
    e = estimator
    settings: dict[str, Any] = {
        "optimizer": e.update_rule(),
        "loss": problem.shown_loss,
        "batch_size": size,
        "schedule": problem.rate,
        "l2": float(e.alpha),
        "l2_in_loss": True,
    }
    trainer = live.trainer
    fits = trainer is not None and trainer.settings == Settings.checked(**settings, outputs=2) and _shared(e, trainer)
    if not incremental or trainer is None or not fits:
        carried = carried_by(e, live) if incremental else None
        trainer = Trainer(live.model, **settings, group=e.group, shards=e.shards)
        live.begin(trainer, carried)
    return trainer


def _of_rank_0(evaluate: Callable[[Epoch], float], group: Group) -> Callable[[Epoch], float]:
    """Return what gives all ranks the score of the first, so that all keep the same parameters."""
    return evaluate if group.size == 1 else lambda epoch: float(group.gather_numbers([evaluate(epoch)])[0, 0])


def _shared(estimator: Any, trainer: Trainer) -> bool:
    """Return whether a trainer has the ranks and the shards that the estimator asks for."""
    group = estimator.group
    alike = trainer.group.size == 1 if group is None else trainer.group is joined(group)
    return alike and trainer.shards == estimator.shards


def _evaluation(estimator: Any, problem: Problem, live: FittedNetwork, held_out: Given) -> Callable[[Epoch], float]:
    """Return what tells, after an epoch, the validation score by which training is stopped."""
    if estimator.scoring == "loss":
        return lambda epoch: -float(epoch.validation_loss or 0.0)
    if estimator.scoring is None:
        return lambda epoch: problem.score(live.network, held_out)
    scorer = get_scorer(estimator.scoring)
    weights = {} if held_out.sample_weight is None else {"sample_weight": held_out.sample_weight}

    def by_scorer(epoch: Epoch) -> float:
        problem.show()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "X does not have valid feature names")
            return float(scorer(estimator, held_out.x, held_out.y, **weights))

    return by_scorer
