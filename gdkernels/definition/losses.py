"""Losses: each is a value per record; E is their sum over the records.

A user's own is any function ``loss(prediction, target, *, xp)`` of two arrays [records, outputs] that returns an array
[records]. A loss that takes logits has an attribute `link`: the activation that turns them into predictions.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from gdkernels.definition import activations
from gdkernels.definition.checks import check_number
from gdkernels.graph import detach

__all__ = [
    "BinaryCrossEntropy",
    "CrossEntropy",
    "Huber",
    "Poisson",
    "binary_cross_entropy",
    "cross_entropy",
    "huber",
    "mse",
    "poisson",
    "sse",
]

Loss = Callable[..., Any]


def sse(prediction: Any, target: Any, *, xp: Any) -> Any:
    """Return ½ Σ_j (y_j − ŷ_j)² for each record."""
    error = prediction - target
    return 0.5 * xp.sum(error * error, axis=-1)


def mse(prediction: Any, target: Any, *, xp: Any) -> Any:
    """Return (1/K) Σ_j (y_j − ŷ_j)² over the K outputs of each record."""
    error = prediction - target
    return xp.sum(error * error, axis=-1) / prediction.shape[1]


@dataclass(frozen=True)
class Huber:
    """½e² for errors of at most `delta`, `delta`·(abs(e) − ½·`delta`) beyond, summed over the outputs (Huber 1964)."""

    delta: float = 1.0

    def __post_init__(self) -> None:
        check_number(self, "delta", lambda v: v > 0, "a finite number above 0")

    def __call__(self, prediction: Any, target: Any, *, xp: Any) -> Any:
        size = xp.abs(prediction - target)
        inner = xp.where(size > self.delta, self.delta, size)
        return xp.sum(inner * (size - 0.5 * inner), axis=-1)


@dataclass(frozen=True)
class Poisson:
    """Half the Poisson deviance of counts or rates, Σ_j exp(z_j) − y_j z_j + (y_j log y_j − y_j), from log-rates z."""

    link: ClassVar[activations.Activation] = staticmethod(activations.exp)

    def __call__(self, prediction: Any, target: Any, *, xp: Any) -> Any:
        positive = target > 0
        log_target = xp.log(xp.where(positive, target, 1.0))
        return xp.sum(xp.exp(prediction) - target + target * (log_target - prediction), axis=-1)


@dataclass(frozen=True)
class CrossEntropy:
    """−Σ_j y_j log softmax(z)_j from logits z: one class of several for each record."""

    link: ClassVar[activations.Activation] = staticmethod(activations.softmax)

    def __call__(self, prediction: Any, target: Any, *, xp: Any) -> Any:
        shifted = prediction - detach(xp.max(prediction, axis=-1, keepdims=True))
        log_sum = xp.log(xp.sum(xp.exp(shifted), axis=-1, keepdims=True))
        return xp.sum(target * (log_sum - shifted), axis=-1)


@dataclass(frozen=True)
class BinaryCrossEntropy:
    """−Σ_j (y_j log σ(z_j) + (1 − y_j) log(1 − σ(z_j))) from logits z: yes or no for each output."""

    link: ClassVar[activations.Activation] = staticmethod(activations.sigmoid)

    def __call__(self, prediction: Any, target: Any, *, xp: Any) -> Any:
        return xp.sum(activations.softplus(prediction, xp=xp) - target * prediction, axis=-1)


huber = Huber()
poisson = Poisson()
cross_entropy = CrossEntropy()
binary_cross_entropy = BinaryCrossEntropy()

BY_NAME: dict[str, Loss] = {
    "sse": sse,
    "mse": mse,
    "huber": huber,
    "poisson": poisson,
    "cross_entropy": cross_entropy,
    "binary_cross_entropy": binary_cross_entropy,
}


def is_classifier(loss: Loss | None) -> bool:
    """Return whether a network trained with `loss` predicts classes."""
    return isinstance(loss, (CrossEntropy, BinaryCrossEntropy))


def link_of(loss: Loss) -> activations.Activation:
    """Return the activation that turns what `loss` takes into predictions; the identity for most."""
    link: activations.Activation = getattr(loss, "link", activations.identity)
    return link
