"""Networks from other libraries' weights."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gdkernels.errors import FileError, InputError, unknown_name

if TYPE_CHECKING:
    from gdkernels.definition.activations import Activation
    from gdkernels.mlp import MLP

__all__ = ["from_sklearn", "from_torch"]

_SKLEARN = {"identity": "identity", "logistic": "sigmoid", "tanh": "tanh", "relu": "relu"}
# Of the output, the loss whose link it is.
_SKLEARN_LOSSES = {
    "identity": "sse",
    "softmax": "cross_entropy",
    "logistic": "binary_cross_entropy",
    "exp": "poisson",
}


def from_sklearn(estimator: Any, **settings: Any) -> MLP:
    """Return the network of a fitted ``MLPClassifier`` or ``MLPRegressor`` of scikit-learn.

    Parameters
    ----------
    settings
        ``backend``, ``device``, ``precision`` and ``seed`` of `gdkernels.MLP`; the precision is that of the weights
        unless it is given.

    Returns
    -------
    MLP
        It gives the estimator's outputs; a classifier's classes come as their numbers in ``estimator.classes_``.

    Raises
    ------
    InputError
        Where `estimator` is not fitted, or no such network.
    """
    lacking = [
        name for name in ("coefs_", "intercepts_", "out_activation_", "activation") if not hasattr(estimator, name)
    ]
    if lacking:
        raise InputError(
            f"{type(estimator).__name__} has no {lacking[0]}: a fitted MLPClassifier or MLPRegressor of scikit-learn "
            "is needed"
        )
    if estimator.activation not in _SKLEARN:
        raise unknown_name("activation of scikit-learn", estimator.activation, _SKLEARN)
    if estimator.out_activation_ not in _SKLEARN_LOSSES:
        raise unknown_name("output activation of scikit-learn", estimator.out_activation_, _SKLEARN_LOSSES)
    layers = list(zip(estimator.coefs_, estimator.intercepts_, strict=True))
    mlp = _network(layers, _SKLEARN[estimator.activation], "identity", settings)
    from gdkernels.definition.naming import resolve

    mlp._set_objective(resolve("loss", _SKLEARN_LOSSES[estimator.out_activation_]))
    return mlp


def from_torch(
    path: str | os.PathLike[str],
    *,
    activation: str | Activation | Sequence[str | Activation] = "relu",
    output: str | Activation = "identity",
    **settings: Any,
) -> MLP:
    """Return the network of a PyTorch ``nn.Sequential`` of ``Linear`` layers, from its weights as safetensors.

    Parameters
    ----------
    path
        What ``safetensors.torch.save_file(model.state_dict(), path)`` wrote; layers are in the order of their numbers.
    activation, output
        Those of the network, which the file does not tell.
    settings
        ``backend``, ``device``, ``precision`` and ``seed`` of `gdkernels.MLP`; the precision is that of the weights
        unless it is given.

    Raises
    ------
    FileError
        Where the file cannot be read, or holds anything but the weights of such layers; nothing in it is executed.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    name = os.fspath(path)
    try:
        tensors = load(Path(name).read_bytes())  # not mapped: a mapped file that is cut short ends the process
    except OSError as error:
        raise FileError(f"cannot read the weights {name}: {(error.strerror or str(error)).lower()}") from None
    except (SafetensorError, KeyError, TypeError, ValueError, AttributeError) as error:  # bfloat16 is a KeyError
        raise FileError(
            f"cannot read the weights {name}: {error}; write float32 tensors by safetensors.torch.save_file"
        ) from None
    return _network(_linear_layers(tensors, name), activation, output, settings)


def _linear_layers(tensors: dict[str, Any], name: str) -> list[tuple[Any, ...]]:
    found: dict[tuple[int | str, ...], dict[str, Any]] = {}
    for key, tensor in tensors.items():
        prefix, _, kind = key.rpartition(".")
        if kind not in {"weight", "bias"} or tensor.ndim != (2 if kind == "weight" else 1) or tensor.dtype.kind != "f":
            raise FileError(
                f"{name}: {key!r} {tensor.dtype} {list(tensor.shape)} is not of a Linear layer; only such can be taken"
            )
        order = tuple(int(part) if part.isdigit() else part for part in re.split(r"(\d+)", prefix))
        found.setdefault(order, {})[kind] = tensor
    layers = [found[order] for order in sorted(found)]
    biased = {"bias" in layer for layer in layers}
    if not layers or any("weight" not in layer for layer in layers) or len(biased) > 1:
        raise FileError(f"{name}: each layer needs a weight, and either all of them a bias or none")
    return [(layer["weight"].T, *([layer["bias"]] if "bias" in layer else [])) for layer in layers]


def _network(layers: list[tuple[Any, ...]], activation: Any, output: Any, settings: dict[str, Any]) -> MLP:
    from gdkernels.mlp import MLP

    for k, ((W, *_), (V, *_)) in enumerate(pairwise(layers)):
        if W.shape[1] != V.shape[0]:
            raise InputError(f"layer {k} has {W.shape[1]} outputs, but layer {k + 1} takes {V.shape[0]} inputs")
    dtype = np.result_type(*(a.dtype for layer in layers for a in layer))
    sizes = [layers[0][0].shape[0], *(W.shape[1] for W, *_ in layers)]
    precision = {"precision": "float64" if dtype == np.float64 else "float32"}
    mlp = MLP(sizes, activation=activation, output=output, bias=len(layers[0]) == 2, **precision | settings)
    mlp.set_parameters(layers)
    return mlp
