"""`MLP`: the network of dense layers that its sizes describe."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gdkernels.backend import Backend
from gdkernels.definition.activations import Activation
from gdkernels.definition.chain import by_layer
from gdkernels.definition.losses import Loss
from gdkernels.models.network import Network
from gdkernels.network import BoundNetwork, Structure

__all__ = ["MLP", "load_network", "model_of"]


class MLP(Network):
    """A multilayer perceptron.

    Parameters
    ----------
    sizes
        The number of inputs, of the units of each hidden layer, and of outputs: [64, 128, 10].
    activation
        The activation of the hidden layers: a name, a function ``f(z, *, xp)``, or one of these for each hidden layer.
    output
        The activation of the last layer. A loss that takes logits sets it.
    bias
        Whether layers have biases.
    residual
        Whether a hidden layer that is as wide as the one before it adds its inputs to its outputs.
    norm
        "layer" normalises what each hidden layer but the first takes, and what the last layer takes, over the units of
        a record; None does not.
    dropout
        The share of the outputs of each hidden layer that is dropped, at random, in each step of training.
    seed, backend, device, precision, threads
        As for `gdkernels.Network`.

    Raises
    ------
    InputError
        For sizes, names or numbers that are not possible.
    BackendError
        For a backend or device that you name and that cannot run here.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        activation: str | Activation | Sequence[str | Activation] = "relu",
        output: str | Activation = "identity",
        bias: bool = True,
        residual: bool = False,
        norm: str | None = None,
        dropout: float = 0.0,
        seed: int | None = None,
        backend: str | Backend = "auto",
        device: str | None = None,
        precision: str | None = "float32",
        threads: int | None = None,
    ) -> None:
        structure = Structure.of_sizes(sizes, activation, output, bias, residual=residual, norm=norm, dropout=dropout)
        self._network = BoundNetwork(
            structure, seed=seed, backend=backend, device=device, precision=precision, threads=threads
        )
        self.extra = {}

    @property
    def bias(self) -> bool:
        """Whether layers have biases."""
        return any(name.startswith("b") for name in self.network.structure.parameters)

    @property
    def parameters(self) -> Any:
        """A copy of the weights and biases: a `Layer` for each layer, arrays of the backend.

        With residuals, norms or dropout, a dictionary by name.
        """
        return self._by_layer(self.network.copied_parameters())

    def gradient(self, X: Any, Y: Any, *, loss: str | Loss | None = None, reduction: str = "mean") -> Any:
        """Return the gradient of what `loss` returns, as `parameters` are: a `Layer` for each layer."""
        return self._by_layer(super().gradient(X, Y, loss=loss, reduction=reduction))

    def _by_layer(self, named: dict[str, Any]) -> Any:
        return named if self.network.structure.layers is None else by_layer(named)


def model_of(network: BoundNetwork, extra: dict[str, Any] | None = None) -> Network:
    """Return the model that holds a network: an `MLP` if it is a chain of dense layers."""
    return (Network if network.structure.layers is None else MLP).of(network, {} if extra is None else extra)


def load_network(
    path: str | os.PathLike[str],
    *,
    backend: str | Backend = "auto",
    device: str | None = None,
    threads: int | None = None,
    objects: Mapping[str, Callable[..., Any]] | None = None,
) -> Network:
    """Return the network that was saved, whatever else the file keeps: an `MLP` if it is a chain of dense layers.

    Parameters
    ----------
    objects
        By name, the functions and blocks that are not built in; files keep no code.

    Raises
    ------
    FileError
        If the file is missing, damaged, of another format or of a newer version.
    InputError
        If something that is not built in is missing from `objects`.
    """
    from gdkernels.network.saving import read_network

    return model_of(*read_network(path, backend=backend, device=device, threads=threads, objects=objects))
