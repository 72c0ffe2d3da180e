"""The precision in which an estimator computes, and the type of what it returns."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np

from gdkernels.dispatch.binding import namespace_of
from gdkernels.dispatch.choosing import choose
from gdkernels.errors import BackendError
from gdkernels.estimators.arrays import one_array
from gdkernels.estimators.parameters import is_stochastic

__all__ = ["as_wide_as", "float_type", "training_precision"]


def float_type(a: Any) -> str:
    """Return the type in which to compute with an array: float32 for float32, else float64."""
    if isinstance(a.dtype, np.dtype):  # which takes long to say its name
        return "float32" if a.dtype == np.float32 else "float64"
    return "float32" if "float32" in str(a.dtype) else "float64"


def training_precision(estimator: Any, X: Any, *, first: bool) -> str:
    """Return the precision that scikit-learn would train in: the first call fixes it; solvers take float64."""
    found = float_type(X if first else one_array(estimator))
    if is_stochastic(estimator) or namespace_of(X) is not None:
        return found
    with suppress(BackendError):  # a backend that has no float64
        choose(estimator.backend, estimator.device, "float64")
        return "float64"
    return found


def as_wide_as(output: Any, X: Any, like: Any) -> Any:
    """Return what a network put out in the type that NumPy would give it, from inputs X and parameters like `like`."""
    if type(X) is type(output) is type(like) is np.ndarray and X.dtype == output.dtype == like.dtype:
        return output
    xp = namespace_of(output) or np
    wide = "float64" in (str(xp.result_type(X.dtype, output.dtype)), float_type(like))
    return xp.astype(output, xp.float64 if wide else xp.float32, copy=False)
