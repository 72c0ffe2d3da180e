"""Train multilayer perceptrons by gradient descent, fast, on whatever device you have.

>>> import gdkernels as gd
>>> mlp = gd.MLP([64, 128, 10], activation="relu", seed=0)
>>> history = mlp.fit(X, Y, epochs=50, loss="cross_entropy", optimizer=gd.Adam(1e-3))  # doctest: +SKIP
"""

import logging
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from gdkernels.errors import (
    BackendError,
    DivergenceError,
    FileError,
    GdkernelsError,
    InputError,
    Interrupted,
    TraceError,
)
from gdkernels.system.moved import keep_old_names
from gdkernels.system.short_names import import_by_short_names
from gdkernels.system.version import __version__ as __version__

__all__ = [
    "LBFGS",
    "MLP",
    "SGD",
    "Adam",
    "AdamW",
    "BackendError",
    "DivergenceError",
    "Ensemble",
    "FileError",
    "GdkernelsError",
    "History",
    "InputError",
    "Interrupted",
    "Layer",
    "LevenbergMarquardt",
    "Network",
    "Optimizer",
    "RMSprop",
    "Solver",
    "Stored",
    "TabularPredictor",
    "TraceError",
    "Trainer",
    "activations",
    "blocks",
    "fit_many",
    "from_sklearn",
    "from_torch",
    "load",
    "losses",
    "optimizers",
    "plots",
    "schedules",
    "solvers",
    "tables",
]

if TYPE_CHECKING:
    from gdkernels import plots, tables
    from gdkernels.data.stored import Stored
    from gdkernels.definition import activations, blocks, losses, optimizers, schedules, solvers
    from gdkernels.definition.chain import Layer
    from gdkernels.definition.optimizers import SGD, Adam, AdamW, Optimizer, RMSprop
    from gdkernels.definition.solvers import LBFGS, LevenbergMarquardt, Solver
    from gdkernels.loading import load
    from gdkernels.many import Ensemble, fit_many
    from gdkernels.models import MLP, Network
    from gdkernels.models.foreign import from_sklearn, from_torch
    from gdkernels.tabular import TabularPredictor
    from gdkernels.training.history import History
    from gdkernels.training.trainer import Trainer

_HOMES = {
    "definition.chain": ("Layer",),
    "definition.optimizers": ("SGD", "Adam", "AdamW", "Optimizer", "RMSprop"),
    "definition.solvers": ("LBFGS", "LevenbergMarquardt", "Solver"),
    "data.stored": ("Stored",),
    "loading": ("load",),
    "many": ("Ensemble", "fit_many"),
    "models": ("MLP", "Network"),
    "models.foreign": ("from_sklearn", "from_torch"),
    "tabular": ("TabularPredictor",),
    "training.history": ("History",),
    "training.trainer": ("Trainer",),
}
_MODULE_OF = {name: f"gdkernels.{home}" for home, names in _HOMES.items() for name in names}
_SHORT = {
    f"gdkernels.{name}": f"gdkernels.definition.{name}"
    for name in ("activations", "blocks", "losses", "optimizers", "schedules", "solvers")
}
_MODULES = {name: f"gdkernels.{name}" for name in ("plots", "tables")}
_MODULES |= {short.removeprefix("gdkernels."): home for short, home in _SHORT.items()}

# Documented in 0.1, and what others took from it nevertheless.
_MOVED: dict[str, tuple[str, tuple[str, ...] | dict[str, str]]] = {
    "gdkernels.history": ("gdkernels.training.history", ("Epoch", "History", "Start")),
    "gdkernels.predictor": (
        "gdkernels.tabular.model.prediction",
        {"Prediction": "Prediction", "Predictor": "PreparedNetwork"},
    ),
    "gdkernels.program": ("gdkernels.backend.program", ("Program", "TracedForward", "TracedStep")),
}


def __getattr__(name: str) -> Any:
    """Load what is asked for, and keep it (PEP 562): importing the package costs next to nothing."""
    if f"gdkernels.{name}" in _MOVED:
        return sys.modules[f"gdkernels.{name}"]
    if name in _MODULES:
        value = import_module(_MODULES[name])
    elif name in _MODULE_OF:
        value = getattr(import_module(_MODULE_OF[name]), name)
    else:
        raise AttributeError(f"module 'gdkernels' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


keep_old_names(_MOVED)
import_by_short_names(_SHORT)
logging.getLogger(__name__).addHandler(logging.NullHandler())
