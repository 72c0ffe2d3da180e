"""scikit-learn's rules of stochastic descent: the rate of each epoch, and when it ends."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from gdkernels.estimators.inputs import Given, Passes
from gdkernels.estimators.orders import Orders
from gdkernels.estimators.problem import Problem
from gdkernels.estimators.reported_loss import ReportedLoss
from gdkernels.training.history import Epoch

__all__ = ["EpochFollower"]

_MANY = 1 << 20
_SMALLEST_RATE = 1e-6  # an adaptive rate is not lowered any further


class EpochFollower:
    """The work after each epoch of a fit; its figures are attributes of the estimator, and continue with it.

    Parameters
    ----------
    estimator, problem
        What is fitted, and what it sets its solver.
    train
        What an epoch goes through; it tells how many records that were.
    reported
        What the loss of an epoch is, as scikit-learn reports it.
    orders
        The orders of the epochs.
    evaluate
        Returns the validation score of the present parameters; None where the training loss is watched.
    keep
        Called when the score is the best so far.

    Attributes
    ----------
    fell_back
        Why the validation loss is watched in place of the score; empty where it is not.
    """

    def __init__(
        self,
        estimator: Any,
        problem: Problem,
        train: Given | Passes,
        reported: ReportedLoss,
        orders: Orders,
        evaluate: Callable[[Epoch], float] | None,
        keep: Callable[[], None],
    ) -> None:
        self.estimator, self._problem, self._train = estimator, problem, train
        self._reported, self._orders, self._evaluate, self._keep = reported, orders, evaluate, keep
        self.fell_back = ""
        self._lowest: float | None = None  # the validation loss to beat, once the score was NaN

    def next_look(self) -> int:
        """Return after how many further epochs training may end, or its rate change, at the earliest."""
        e = self.estimator
        if self._evaluate is not None or (e.solver == "sgd" and e.learning_rate == "invscaling"):
            return 1
        # As if none of them improved.
        return max(1, int(min(e.n_iter_no_change - self._problem.stall.epochs, _MANY)) + 1)

    def __call__(self, epoch: Epoch) -> bool:
        """Take note of an epoch, and return whether it is the last."""
        e = self.estimator
        self._orders.ended()
        e.n_iter_ += 1
        e.t_ += self._train.records
        e.loss_ = self._reported.end(epoch.loss)
        e.loss_curve_.append(e.loss_)
        if epoch.validation_loss is not None:
            e.validation_loss_curve_.append(epoch.validation_loss)
        self._say(f"Iteration {e.n_iter_}, loss = {e.loss_:.8f}")
        improved = self._loss_improved() if self._evaluate is None else self._validated(epoch, self._evaluate(epoch))
        stall = self._problem.stall
        stall.epochs = 0 if improved else stall.epochs + 1
        if e.solver == "sgd" and e.learning_rate == "invscaling":
            e.learning_rate_ = float(e.learning_rate_init) / (e.t_ + 1) ** e.power_t
        return stall.epochs > e.n_iter_no_change and self._gives_up()

    def diverged(self) -> None:
        """Take note of an epoch whose loss or parameters were not finite."""
        e = self.estimator
        self._orders.broken_off()
        e.n_iter_ += 1
        e.loss_curve_.append(math.nan)
        if self._evaluate is not None:
            e.validation_scores_.append(math.nan)

    def _loss_improved(self) -> bool:
        e = self.estimator
        improved = e.loss_ <= e.best_loss_ - e.tol
        e.best_loss_ = min(e.best_loss_, e.loss_)
        return bool(improved)

    def _validated(self, epoch: Epoch, score: float) -> bool:
        """Take note of a validation score, and return whether it improved; once one is NaN, the validation loss counts.

        A NaN is neither better nor worse than another score, so patience would never run out.
        """
        e = self.estimator
        e.validation_scores_.append(score)
        self._say(f"Validation score: {score:f}")
        loss = float(epoch.validation_loss or 0.0)
        if math.isnan(score) and self._lowest is None and math.isfinite(loss):  # else training diverges
            before = [loss for loss in e.validation_loss_curve_[:-1] if math.isfinite(loss)]
            self._lowest = min(before, default=math.inf)
            self.fell_back = (
                f"the validation score (scoring={e.scoring!r}) is NaN after epoch {e.n_iter_}: from this epoch on, "
                "early stopping watches the validation loss. A scorer returns NaN where the validation data do not "
                "define it, as roc_auc does for a single class: give other validation data, or another scoring"
            )
            self._say(self.fell_back)
        return (
            self._score_improved(score) if self._lowest is None else self._validation_loss_improved(loss, self._lowest)
        )

    def _score_improved(self, score: float) -> bool:
        e = self.estimator
        improved = score > -math.inf and score >= e.best_validation_score_ + e.tol
        if score > e.best_validation_score_:
            e.best_validation_score_ = score
            self._keep()
        return bool(improved)

    def _validation_loss_improved(self, loss: float, lowest: float) -> bool:
        if loss < lowest:
            self._lowest = loss
            self._keep()
        return bool(loss <= lowest - self.estimator.tol)

    def _gives_up(self) -> bool:
        e = self.estimator
        watched = "Training loss" if self._evaluate is None else "Validation score"
        watched = watched if self._lowest is None else "Validation loss"
        message = f"{watched} did not improve more than tol={e.tol:f} for {e.n_iter_no_change} consecutive epochs."
        if e.solver != "sgd" or e.learning_rate != "adaptive":
            self._say(f"{message} Stopping.")
            return True
        if e.learning_rate_ <= _SMALLEST_RATE:
            self._say(f"{message} Learning rate too small. Stopping.")
            return True
        e.learning_rate_ /= 5.0
        self._say(f"{message} Setting learning rate to {e.learning_rate_:f}")
        self._problem.stall.epochs = 0
        return False

    def _say(self, message: str) -> None:
        if self.estimator.verbose:
            print(message)
