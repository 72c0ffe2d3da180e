"""Weights of other libraries' networks, in one form: `gdkernels.from_sklearn` and `from_torch` build on it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from gdkernels.errors import FileError, InputError, unknown_name

__all__ = ["ForeignWeights", "sklearn_weights", "torch_weights"]

_SKLEARN = {"identity": "identity", "logistic": "sigmoid", "tanh": "tanh", "relu": "relu"}
# Of the output, the loss whose link it is.
_SKLEARN_LOSSES = {
    "identity": "sse",
    "softmax": "cross_entropy",
    "logistic": "binary_cross_entropy",
    "exp": "poisson",
}


@dataclass(frozen=True)
class ForeignWeights:
    """Dense layers of another library.

    Attributes
    ----------
    layers
        For each layer W [inputs, units] and b [units], or W alone in all of them.
    activation, loss
        By our names; None where the library does not tell.
    classes
        The labels of a classifier whose records have one each.
    """

    layers: list[tuple[Any, ...]]
    activation: str | None = None
    loss: str | None = None
    classes: list[Any] | None = None

    def __post_init__(self) -> None:
        for k, ((W, *_), (V, *_)) in enumerate(pairwise(self.layers)):
            if W.shape[1] != V.shape[0]:
                raise InputError(f"layer {k} has {W.shape[1]} outputs, but layer {k + 1} takes {V.shape[0]} inputs")

    @property
    def sizes(self) -> list[int]:
        return [self.layers[0][0].shape[0], *(W.shape[1] for W, *_ in self.layers)]

    @property
    def bias(self) -> bool:
        return len(self.layers[0]) == 2

    @property
    def precision(self) -> str:
        """The precision that holds these weights."""
        dtype = np.result_type(*(a.dtype for layer in self.layers for a in layer))
        return "float64" if dtype == np.float64 else "float32"


def sklearn_weights(estimator: Any) -> ForeignWeights:
    """Return the weights of a fitted ``MLPClassifier`` or ``MLPRegressor``; see `gdkernels.from_sklearn`."""
    lacking = [
        name for name in ("coefs_", "intercepts_", "out_activation_", "activation") if not hasattr(estimator, name)
    ]
    if lacking:
        raise InputError(
            f"{type(estimator).__name__} has no {lacking[0]}: a fitted MLPClassifier or MLPRegressor of scikit-learn "
            "is needed"
        )
    if not isinstance(estimator.activation, str) or estimator.activation not in _SKLEARN:
        raise unknown_name("activation of scikit-learn", estimator.activation, _SKLEARN)
    if estimator.out_activation_ not in _SKLEARN_LOSSES:
        raise unknown_name("output activation of scikit-learn", estimator.out_activation_, _SKLEARN_LOSSES)
    layers: list[tuple[Any, ...]] = list(zip(estimator.coefs_, estimator.intercepts_, strict=True))
    activation, loss = _SKLEARN[estimator.activation], _SKLEARN_LOSSES[estimator.out_activation_]
    labels = np.asarray(getattr(estimator, "classes_", ()))
    exclusive = labels.size > 0 and (loss == "cross_entropy" or layers[-1][0].shape[1] == 1)
    return ForeignWeights(layers, activation, loss, labels.tolist() if exclusive else None)


def torch_weights(path: str | os.PathLike[str]) -> ForeignWeights:
    """Return the weights of ``Linear`` layers from a safetensors file; see `gdkernels.from_torch`."""
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
    return ForeignWeights(_linear_layers(tensors, name))


def _linear_layers(tensors: dict[str, Any], name: str) -> list[tuple[Any, ...]]:
    found: dict[tuple[int | str, ...], dict[str, Any]] = {}
    for key, tensor in tensors.items():
        prefix, _, kind = key.rpartition(".")
        if kind not in {"weight", "bias"} or tensor.ndim != (2 if kind == "weight" else 1) or tensor.dtype.kind != "f":
            raise FileError(
                f"{name}: {key!r} {tensor.dtype} {list(tensor.shape)} is not of a Linear layer, and a "
                "file tells of others neither kind nor place; pass the nn.Sequential itself"
            )
        order = tuple(int(part) if part.isdigit() else part for part in re.split(r"(\d+)", prefix))
        found.setdefault(order, {})[kind] = tensor
    layers = [found[order] for order in sorted(found)]
    biased = {"bias" in layer for layer in layers}
    if not layers or any("weight" not in layer for layer in layers) or len(biased) > 1:
        raise FileError(f"{name}: each layer needs a weight, and either all of them a bias or none")
    return [(layer["weight"].T, *([layer["bias"]] if "bias" in layer else [])) for layer in layers]
