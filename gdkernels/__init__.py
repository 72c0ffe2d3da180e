"""Train multilayer perceptrons by gradient descent, fast, on whatever device is there.

>>> import gdkernels as gd
>>> mlp = gd.MLP([64, 128, 10], activation="relu", seed=0)
>>> history = mlp.fit(X, Y, epochs=50, loss="cross_entropy", optimizer=gd.Adam(1e-3))  # doctest: +SKIP
"""

import logging
from typing import TYPE_CHECKING, Any

from gdkernels.definition import activations, losses, optimizers, schedules
from gdkernels.definition.network import Layer
from gdkernels.definition.optimizers import SGD, Adam, AdamW, Optimizer, RMSprop
from gdkernels.errors import (
    BackendError,
    DivergenceError,
    FileError,
    GdkernelsError,
    InputError,
    Interrupted,
    TraceError,
)
from gdkernels.history import History
from gdkernels.mlp import MLP, load
from gdkernels.stored import Stored
from gdkernels.trainer import Trainer

__all__ = [
    "MLP",
    "SGD",
    "Adam",
    "AdamW",
    "BackendError",
    "DivergenceError",
    "FileError",
    "GdkernelsError",
    "History",
    "InputError",
    "Interrupted",
    "Layer",
    "Optimizer",
    "RMSprop",
    "Stored",
    "TraceError",
    "Trainer",
    "activations",
    "from_sklearn",
    "from_torch",
    "load",
    "losses",
    "optimizers",
    "plots",
    "schedules",
    "tables",
]

__version__ = "0.1.0"

if TYPE_CHECKING:
    from gdkernels import plots, tables
    from gdkernels.files.foreign import from_sklearn, from_torch


def __getattr__(name: str) -> Any:
    from importlib import import_module  # what a network alone does not need is loaded when it is asked for

    if name in ("plots", "tables"):
        return import_module(f"gdkernels.{name}")
    if name in ("from_sklearn", "from_torch"):
        return getattr(import_module("gdkernels.files.foreign"), name)
    raise AttributeError(f"module 'gdkernels' has no attribute {name!r}")


logging.getLogger(__name__).addHandler(logging.NullHandler())
