"""Networks from other libraries' weights."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gdkernels.definition.naming import resolve
from gdkernels.definition.objective import Objective
from gdkernels.interchange.foreign import ForeignWeights, sklearn_weights, torch_weights
from gdkernels.models.mlp import MLP

if TYPE_CHECKING:
    from gdkernels.definition.activations import Activation

__all__ = ["from_sklearn", "from_torch"]


def from_sklearn(estimator: Any, **settings: Any) -> MLP:
    """Return the network of a fitted ``MLPClassifier`` or ``MLPRegressor`` of scikit-learn or of gdkernels.

    Parameters
    ----------
    settings
        ``backend``, ``device``, ``precision`` and ``seed`` of `gdkernels.MLP`; the precision is that of the weights
        unless it is given.

    Returns
    -------
    MLP
        It computes the estimator's outputs; the classes of a classifier are their numbers in ``estimator.classes_``,
        which ``extra["classes"]`` keeps for its file and for ONNX.

    Raises
    ------
    InputError
        If `estimator` is not fitted, or is no such network.
    """
    if hasattr(estimator, "to_mlp") and hasattr(estimator, "coefs_"):  # ours, whose parameters can be more
        ours: MLP = estimator.to_mlp(**settings)
        return ours
    weights = sklearn_weights(estimator)
    mlp = _mlp(weights, weights.activation, "identity", settings)
    mlp.network.train_for(Objective(resolve("loss", weights.loss or "sse")))
    if weights.classes is not None:
        mlp.extra["classes"] = weights.classes
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
        The file that ``safetensors.torch.save_file(model.state_dict(), path)`` wrote; layers are in the order of their
        numbers.
    activation, output
        The activations of the network, which the file does not hold.
    settings
        ``backend``, ``device``, ``precision`` and ``seed`` of `gdkernels.MLP`; the precision is that of the weights
        unless it is given.

    Raises
    ------
    FileError
        If the file cannot be read, or holds anything but the weights of such layers. gdkernels executes nothing in it.
    """
    return _mlp(torch_weights(path), activation, output, settings)


def _mlp(weights: ForeignWeights, activation: Any, output: Any, settings: dict[str, Any]) -> MLP:
    given = {"precision": weights.precision} | settings
    mlp = MLP(weights.sizes, activation=activation, output=output, bias=weights.bias, **given)
    mlp.set_parameters(weights.layers)
    return mlp
