"""The parameters that both estimators have: which values they take, and how scikit-learn keeps and checks them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils._param_validation import Interval, Options, StrOptions

from gdkernels.backend import PRECISIONS, Backend
from gdkernels.definition.blocks import Block
from gdkernels.definition.naming import describe, names
from gdkernels.definition.solvers import Solver
from gdkernels.errors import shown
from gdkernels.groups import Group

__all__ = [
    "CONSTRAINTS",
    "check_numbers",
    "check_ranks",
    "check_solver",
    "is_stochastic",
    "keep_parameters",
    "pair",
    "solver_name",
]

# What scikit-learn checks parameters against.
CONSTRAINTS: dict[str, list[Any]] = {
    "network": [Block, None],
    "residual": ["boolean"],
    "norm": [str, None],  # which they are is said with the reason why others are not
    "dropout": [Interval(Real, 0, 1, closed="left")],
    "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
    "activation": [StrOptions({"logistic", *names("activation")}), callable, list, tuple],
    "solver": [StrOptions({"lbfgs", "sgd", "adam", "lm"}), Solver],
    "alpha": [Interval(Real, 0, None, closed="left")],
    "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
    "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
    "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
    "power_t": [Interval(Real, 0, None, closed="left")],
    "max_iter": [Interval(Integral, 1, None, closed="left")],
    "shuffle": ["boolean"],
    "random_state": ["random_state"],
    "tol": [Interval(Real, 0, None, closed="left")],
    "verbose": ["verbose"],
    "warm_start": ["boolean"],
    "momentum": [Interval(Real, 0, 1, closed="both")],
    "nesterovs_momentum": ["boolean"],
    "early_stopping": ["boolean"],
    "validation_fraction": [Interval(Real, 0, 1, closed="left")],
    "beta_1": [Interval(Real, 0, 1, closed="left")],
    "beta_2": [Interval(Real, 0, 1, closed="left")],
    "epsilon": [Interval(Real, 0, None, closed="neither")],
    "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), Options(Real, {np.inf})],
    "max_fun": [Interval(Integral, 1, None, closed="left")],
    "scoring": [str, callable, None],
    "callbacks": [list, tuple, None],
    "progress": ["boolean", None],
    "backend": [str, Backend],
    "device": [str, None],
    "precision": [StrOptions(set(PRECISIONS)), None],
    "threads": [Interval(Integral, 1, None, closed="left"), None],
    "group": [str, Group, None],
    "shards": [Interval(Integral, 1, None, closed="left"), None],
}


def check_solver(estimator: Any) -> bool:
    """Return True where an estimator can be fitted in parts; raise AttributeError, as scikit-learn does, elsewhere."""
    if not is_stochastic(estimator):
        raise AttributeError(
            f"partial_fit is only available for stochastic optimizers. {solver_name(estimator)} is not stochastic."
        )
    return True


def check_ranks(estimator: Any) -> None:
    """Refuse several ranks where they could not train together."""
    if estimator.group is None and estimator.shards is None:
        return
    if not is_stochastic(estimator):
        name = solver_name(estimator)
        raise ValueError(f"{name} looks at all records in each iteration: group and shards are for adam and sgd")
    if estimator.group is not None and not isinstance(estimator.random_state, Integral):
        raise ValueError("ranks begin with the same weights: give random_state a number where there is a group")


def check_numbers(estimator: Any) -> None:
    """Refuse what scikit-learn's intervals let pass: numbers beyond all floats, and callbacks that are no functions."""
    for name in ("alpha", "learning_rate_init", "power_t", "tol", "epsilon"):
        value = getattr(estimator, name)
        if value > sys.float_info.max:
            raise ValueError(f"{name} must be a finite number, got {shown(value)}")
    for callback in estimator.callbacks or ():
        if not callable(callback):
            raise ValueError(f"callbacks must be a list of functions of an Epoch, got {shown(estimator.callbacks)}")


def is_stochastic(estimator: Any) -> bool:
    """Return whether the solver takes batches; the others look at all records in each iteration."""
    return isinstance(estimator.solver, str) and estimator.solver in ("adam", "sgd")


def solver_name(estimator: Any) -> str:
    """Return the solver as messages call it."""
    given = estimator.solver
    return given if isinstance(given, str) else str(describe(given)["name"])


def keep_parameters(estimator: Any, given: Mapping[str, Any]) -> None:
    """Set the parameters of an estimator: the local variables of its ``__init__``."""
    vars(estimator).update({name: value for name, value in given.items() if name not in ("self", "__class__")})


def pair(X: Any, y: Any) -> tuple[Any, Any] | None:
    """Return validation data that somebody gives, or None where nobody does."""
    if (X is None) != (y is None):
        alone = "y_val" if X is None else "X_val"
        raise ValueError(f"X_val and y_val belong together: give both, or neither; {alone} was given alone")
    return None if X is None else (X, y)
