"""Networks from other libraries' weights."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

from gdkernels.definition.naming import resolve
from gdkernels.definition.objective import Objective
from gdkernels.errors import InputError
from gdkernels.interchange.foreign import ForeignWeights, sklearn_weights, torch_weights
from gdkernels.interchange.torch_modules import is_module, torch_network
from gdkernels.models.mlp import MLP, model_of
from gdkernels.models.network import Network
from gdkernels.network import BoundNetwork, Structure

if TYPE_CHECKING:
    from gdkernels.definition.activations import Activation

__all__ = ["from_sklearn", "from_torch"]


def from_sklearn(estimator: Any, **settings: Any) -> Network:
    """Return the network of a fitted ``MLPClassifier`` or ``MLPRegressor`` of scikit-learn or of gdkernels.

    Parameters
    ----------
    settings
        ``backend``, ``device``, ``precision`` and ``seed`` of `gdkernels.MLP`; the precision is that of the weights
        unless it is given.

    Returns
    -------
    Network
        An `MLP` where it is a chain of dense layers. It computes the estimator's outputs; the classes of a classifier
        are their numbers in ``estimator.classes_``, which ``extra["classes"]`` keeps for its file and for ONNX.

    Raises
    ------
    InputError
        If `estimator` is not fitted, or is no such network.
    """
    if hasattr(estimator, "to_mlp") and hasattr(estimator, "parameters_"):  # ours, whose parameters can be more
        ours: Network = estimator.to_mlp(**settings)
        return ours
    weights = sklearn_weights(estimator)
    mlp = _mlp(weights, weights.activation, "identity", settings)
    mlp.network.train_for(Objective(resolve("loss", weights.loss or "sse")))
    if weights.classes is not None:
        mlp.extra["classes"] = weights.classes
    return mlp


@overload
def from_torch(
    path: str | os.PathLike[str],
    *,
    activation: str | Activation | Sequence[str | Activation] | None = None,
    output: str | Activation | None = None,
    **settings: Any,
) -> MLP: ...


@overload
def from_torch(path: Any, *, objects: Mapping[str, Activation] | None = None, **settings: Any) -> Network: ...


def from_torch(
    path: Any,
    *,
    activation: str | Activation | Sequence[str | Activation] | None = None,
    output: str | Activation | None = None,
    objects: Mapping[str, Activation] | None = None,
    **settings: Any,
) -> Network:
    """Return the network of a PyTorch ``nn.Sequential``, with its weights.

    Parameters
    ----------
    path
        The module: ``Linear``, ``LayerNorm`` and ``Dropout`` layers, activations, ``Identity``, ``Flatten``, and
        ``Sequential`` of these. If all its layers are ``Linear``, in the order of their numbers, also the file that
        ``safetensors.torch.save_file(model.state_dict(), path)`` wrote.
    activation, output
        The activations of the network, which a file does not hold: "relu" and "identity" unless you give them. A module
        has its own.
    objects
        Functions ``f(z, *, xp)`` for activations that gdkernels does not have, by the names of PyTorch's classes.
    settings
        ``backend``, ``device``, ``precision`` and ``seed`` of `gdkernels.Network`; the precision is that of the weights
        unless it is given.

    Returns
    -------
    Network
        An `MLP` where it is a chain of dense layers. It predicts what the module computes after ``eval()``; the
        activation that ends the module becomes its ``output``. Where a ``Softplus`` is above 20, torch's is less by up
        to 3e-9.

    Raises
    ------
    InputError
        For a module that gdkernels cannot take over; the error names it, and says what to do.
    FileError
        If the file cannot be read, or holds anything but the weights of such layers. gdkernels executes nothing in it.
    """
    if isinstance(path, (str, os.PathLike)):
        if objects is not None:
            raise InputError("objects are of a module; for a file, pass activation")
        functions = ("relu" if activation is None else activation, "identity" if output is None else output)
        return _mlp(torch_weights(path), *functions, settings)
    if not is_module(path):
        raise InputError(
            f"from_torch takes an nn.Sequential or the path of its weights as safetensors, got {type(path).__name__}"
        )
    if activation is not None or output is not None:
        raise InputError("a module has activations of its own; pass activation and output with a file")
    found = torch_network(path, objects)
    structure = Structure.checked(found.block, found.inputs, found.output)
    model = model_of(BoundNetwork(structure, **{"precision": found.precision} | settings))
    model.set_parameters(model.network.host_parameters() | found.parameters)  # constants are the blocks'
    return model


def _mlp(weights: ForeignWeights, activation: Any, output: Any, settings: dict[str, Any]) -> MLP:
    given = {"precision": weights.precision} | settings
    mlp = MLP(weights.sizes, activation=activation, output=output, bias=weights.bias, **given)
    mlp.set_parameters(weights.layers)
    return mlp
