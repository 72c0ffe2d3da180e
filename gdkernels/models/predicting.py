"""The predictions of a network on the user's data: numbers, classes, or the probabilities of classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gdkernels.definition.losses import BinaryCrossEntropy
from gdkernels.errors import InputError
from gdkernels.network import BoundNetwork

if TYPE_CHECKING:
    from gdkernels.dispatch.binding import Binding

__all__ = ["predicted", "probabilities"]


def predicted(network: BoundNetwork, X: Any) -> Any:
    """Return outputs, or classes if the network was trained with a cross-entropy; as `gdkernels.Network.predict`."""

    def computed(binding: Binding) -> Any:
        output, xp = network.place_and_predict(X), binding.xp
        if network.objective is not None and network.objective.classifies:
            if isinstance(network.objective.loss, BinaryCrossEntropy):
                output = xp.astype(output > 0.5, xp.int64)
                output = output[:, 0] if network.outputs == 1 else output
            else:
                output = xp.argmax(output, axis=1)
        return binding.give_back(output, X)

    return network.computing(X, computed)


def probabilities(network: BoundNetwork, X: Any) -> Any:
    """Return the probabilities of the classes.

    Raises
    ------
    InputError
        If the network was not trained with a cross-entropy.
    """
    if network.objective is None or not network.objective.classifies:
        raise InputError("predict_proba needs a network that was trained with loss='cross_entropy'")
    return network.computing(X, lambda binding: binding.give_back(network.place_and_predict(X), X))
