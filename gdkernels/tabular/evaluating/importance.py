"""Permutation importance: how much worse a model predicts where one column's cells are shuffled among the records."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.metrics.figures import LOWEST
from gdkernels.randomness import generator
from gdkernels.system.progress import RecordCount
from gdkernels.tables import Table
from gdkernels.tables.column.column_data import Floats
from gdkernels.tabular.model.prediction import PreparedNetwork

__all__ = ["IMPORTANCE_ROWS", "permutation_importance"]

IMPORTANCE_ROWS = 10_000  # records at most: each column takes several predictions of all of them
_REPEATS = 5


def permutation_importance(model: PreparedNetwork, table: Table, progress: bool | None = None) -> dict[str, Any]:
    """Return for each column by how much the figure gets worse, with the standard error, the most important first.

    The standard error is that over the records, of which each stands for others like it. Columns that tell the same
    share their importance: the model still has the other. The figure is R², the log loss of classes, or the mean
    squared error of a target that is the same in all records.

    Parameters
    ----------
    table
        Records with the targets in them.
    """
    preparation = model.preparation
    x = preparation.transform(table)
    if preparation.classes is not None:
        truth: npt.NDArray[Any] = preparation.transform_targets(table)
    else:
        truth = preparation.target_values(table).reshape(len(table), -1)
    losses = _losses(model, x, truth)
    found: list[dict[str, Any]] = []
    with RecordCount("permuting", progress) as bar:
        for number, (name, features) in enumerate(_features(model)):
            more = np.zeros(len(x))
            kept = x[:, features].copy()
            for repeat in range(_REPEATS):
                x[:, features] = kept[generator(0, "permutation", number * _REPEATS + repeat).permutation(len(x))]
                more += (_losses(model, x, truth) - losses) / _REPEATS
                bar.update(len(x))
            x[:, features] = kept
            error = float(more.std(ddof=1) / np.sqrt(len(more))) if len(more) > 1 else 0.0
            found.append({"column": name, "importance": float(more.mean()), "standard_error": error})
    found.sort(key=lambda told: -told["importance"])
    figure = "log_loss" if preparation.classes is not None else "r2" if np.var(truth, axis=0).any() else "mse"
    return {"figure": figure, "records": len(x), "repeats": _REPEATS, "columns": found}


def _features(model: PreparedNetwork) -> Iterator[tuple[str, slice]]:
    """Yield the columns that are used, each with the places of its features."""
    first = 0
    for kind in model.preparation.columns:
        if kind.features:
            yield kind.name, slice(first, first + len(kind.features))
            first += len(kind.features)


def _losses(model: PreparedNetwork, x: Floats, truth: npt.NDArray[Any]) -> Floats:
    """Return for each record −log of the probability of its class, or its part of 1 − R².

    Where all targets are the same in all records, there is no R²: then its squared error.
    """
    prediction = model.predict_prepared(x)
    if prediction.probabilities is not None:
        true = np.asarray(prediction.probabilities, np.float64)[np.arange(len(x)), truth]
        return np.asarray(-np.log(np.clip(true, LOWEST, 1.0)))
    errors = (prediction.values.reshape(len(x), -1) - truth) ** 2
    spread = np.var(truth, axis=0)
    if spread.any():
        errors, spread = errors[:, spread > 0], spread[spread > 0]
        return np.asarray(np.mean(errors / spread, axis=1))
    return np.asarray(np.mean(errors, axis=1))
