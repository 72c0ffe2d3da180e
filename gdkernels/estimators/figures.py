"""The figures by which an estimator's training ends, under scikit-learn's names."""

from __future__ import annotations

import math
from typing import Any

from gdkernels.estimators.parameters import is_stochastic

__all__ = ["reset_figures", "watch"]


def reset_figures(estimator: Any) -> None:
    """Begin all of them anew."""
    estimator.n_iter_ = estimator.t_ = 0
    estimator.loss_curve_ = []
    estimator.best_loss_ = None
    estimator.validation_loss_curve_ = None
    estimator.validation_scores_ = None
    estimator.best_validation_score_ = None
    watch(estimator)


def watch(estimator: Any) -> None:
    """Begin with the figures by which training ends, where an earlier fit had others or none."""
    if estimator.early_stopping and is_stochastic(estimator):
        if estimator.validation_scores_ is None:
            estimator.validation_scores_, estimator.best_validation_score_ = [], -math.inf
    elif estimator.best_loss_ is None:
        estimator.best_loss_ = math.inf
