"""Figures that tell how good predictions are, computed on the host in float64.

Each takes a `sample_weight` [records]: means over the records are then weighted.
"""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.errors import InputError, shown, unknown_name
from gdkernels.system.given import items_of

__all__ = [
    "LOWEST",
    "METRICS",
    "accuracy",
    "check_takes_weights",
    "log_likelihoods",
    "log_loss",
    "mae",
    "r2",
    "resolve_metrics",
    "right_records",
    "rmse",
    "shares_out",
]

LOWEST = 1e-15  # probabilities are kept off 0 by this

Array = npt.NDArray[Any]
Metric = Callable[..., float]


def r2(target: Array, prediction: Array, sample_weight: Array | None = None) -> float:
    """Return the coefficient of determination 1 − Σ(y − ŷ)² / Σ(y − ȳ)², the mean of it over the outputs.

    An output that never varies counts 1 if it is predicted exactly, else 0.
    """
    target, prediction = _columns(target), _columns(prediction)
    weights = 1.0 if sample_weight is None else _columns(sample_weight)
    mean = np.average(target, axis=0, weights=sample_weight)
    residual = np.sum(weights * (target - prediction) ** 2, axis=0)
    total = np.sum(weights * (target - mean) ** 2, axis=0)
    scores = np.where(total > 0, 1.0 - residual / np.where(total > 0, total, 1.0), (residual == 0).astype(float))
    return float(np.mean(scores))


def rmse(target: Array, prediction: Array, sample_weight: Array | None = None) -> float:
    """Return the root of the mean squared error over all records and outputs."""
    errors = np.mean((_columns(target) - _columns(prediction)) ** 2, axis=1)
    return float(np.sqrt(np.average(errors, weights=sample_weight)))


def mae(target: Array, prediction: Array, sample_weight: Array | None = None) -> float:
    """Return the mean absolute error over all records and outputs."""
    errors = np.mean(np.abs(_columns(target) - _columns(prediction)), axis=1)
    return float(np.average(errors, weights=sample_weight))


def accuracy(target: Array, prediction: Array, sample_weight: Array | None = None) -> float:
    """Return the share of records whose class, the one with the highest probability, is right.

    One column is the probability of class 1; several are a class each, or a yes or no each where the target has
    several: then all of a record's have to be right.
    """
    return float(np.average(right_records(target, prediction), weights=sample_weight))


def right_records(target: Array, prediction: Array) -> Array:
    """Return for each record whether its class, or all of its answers, are right; see `accuracy`."""
    target, prediction = _columns(target), _columns(prediction)
    if prediction.shape[1] > 1 and _exclusive(target, prediction):
        return np.asarray(np.argmax(prediction, axis=1) == np.argmax(target, axis=1))
    return np.asarray(np.all((prediction > 0.5) == (target > 0.5), axis=1))


def log_loss(target: Array, prediction: Array, sample_weight: Array | None = None) -> float:
    """Return the mean of −log of the probability given to what is true; probabilities are kept off 0 by 1e-15."""
    return float(-np.average(log_likelihoods(target, prediction), weights=sample_weight))


def log_likelihoods(target: Array, prediction: Array) -> Array:
    """Return for each record the log of the probability given to what is true; see `log_loss`."""
    target, prediction = _columns(target), np.clip(_columns(prediction), LOWEST, 1.0)
    logs = target * np.log(prediction)
    if prediction.shape[1] == 1 or not _exclusive(target, prediction):
        logs = logs + (1.0 - target) * np.log(np.clip(1.0 - prediction, LOWEST, 1.0))
    return np.asarray(np.sum(logs, axis=1))


METRICS: dict[str, Metric] = {"r2": r2, "rmse": rmse, "mae": mae, "accuracy": accuracy, "log_loss": log_loss}


def resolve_metrics(metrics: Iterable[str | Metric]) -> dict[str, Metric]:
    """Return the functions that `metrics` names, by name; functions stand for themselves.

    Raises
    ------
    InputError
        For a name that is not known.
    """
    given = items_of(metrics)
    if given is None:
        meant = shown(metrics) if isinstance(metrics, str) and metrics else ""
        raise InputError(f"metrics must be a list, got {shown(metrics)}: write [{meant}]")
    result: dict[str, Metric] = {}
    for metric in given:
        if isinstance(metric, str):
            if metric not in METRICS:
                raise unknown_name("metric", metric, METRICS)
            result[metric] = METRICS[metric]
        elif not callable(metric):
            raise InputError(
                f"metrics: a metric must be a name ({', '.join(METRICS)}) or a function, got {shown(metric)}"
            )
        else:
            result[getattr(metric, "__name__", type(metric).__name__)] = metric
    return result


def check_takes_weights(metrics: dict[str, Metric]) -> None:
    """Raise `InputError` that names the first function that cannot be called with weights."""
    for name, metric in metrics.items():
        try:
            inspect.signature(metric).bind(None, None, None)
        except TypeError:
            raise InputError(
                f"the metric {name!r} takes no weights, but the records have some: give it a third argument, "
                "sample_weight"
            ) from None


def _exclusive(target: Array, prediction: Array) -> bool:
    """Return whether each record has exactly one class, and probabilities that share it out."""
    return all(shares_out(a) for a in (target, prediction))


def shares_out(probabilities: Array) -> bool:
    """Return whether the probabilities of each record add up to 1."""
    return bool(np.allclose(np.sum(probabilities, axis=1), 1, atol=1e-3))


def _columns(a: Array) -> Array:
    a = np.asarray(a, dtype=np.float64)
    return a.reshape(len(a), -1)
