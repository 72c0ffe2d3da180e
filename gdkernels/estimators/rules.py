"""scikit-learn's own formulas where they differ from ours: its update rules and its initial weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from gdkernels.definition.activations import Activation, sigmoid, softplus
from gdkernels.definition.chain import Layer, Layers
from gdkernels.definition.losses import sse
from gdkernels.definition.optimizers import SGD, Optimizer, Slots
from gdkernels.graph import detach

__all__ = ["initial_parameters", "log_probabilities", "mean_over_outputs", "optimizer_of"]


@dataclass(frozen=True)
class _Adam(Optimizer):
    """Adam with ε beside the uncorrected √v (Kingma & Ba 2015, end of section 2), as scikit-learn computes it."""

    beta1: float
    beta2: float
    epsilon: float
    learning_rate: float = 1.0
    slots: ClassVar[int] = 2

    def rule(self, w: Any, g: Any, slots: Slots, *, learning_rate: Any, t: Any, xp: Any) -> tuple[Any, Slots]:
        m = self.beta1 * slots[0] + (1.0 - self.beta1) * g
        v = self.beta2 * slots[1] + (1.0 - self.beta2) * (g * g)
        rate = learning_rate * (1.0 - self.beta2**t) ** 0.5 / (1.0 - self.beta1**t)
        return w - rate * m / (xp.sqrt(v) + self.epsilon), (m, v)


@dataclass(frozen=True)
class _Momentum(Optimizer):
    """v ← μv − ηg, w ← w + v, or w ← w + μv − ηg; μ may be 1."""

    momentum: float
    nesterov: bool
    learning_rate: float = 1.0
    slots: ClassVar[int] = 1

    def rule(self, w: Any, g: Any, slots: Slots, *, learning_rate: Any, t: Any, xp: Any) -> tuple[Any, Slots]:
        step = learning_rate * g
        v = self.momentum * slots[0] - step
        return w + (self.momentum * v - step if self.nesterov else v), (v,)


def optimizer_of(estimator: Any) -> Optimizer:
    """Return the update rule of a stochastic solver, with a rate of 1: the schedule of the fit is the whole rate."""
    if estimator.solver == "adam":
        return _Adam(float(estimator.beta_1), float(estimator.beta_2), float(estimator.epsilon))
    if estimator.momentum == 0:
        return SGD(1.0)
    return _Momentum(float(estimator.momentum), bool(estimator.nesterovs_momentum))


def mean_over_outputs(prediction: Any, target: Any, *, xp: Any) -> Any:
    """Return ½ mean_j (y_j − ŷ_j)², which scikit-learn reports, with the gradient of ½ Σ_j, which it follows."""
    error = sse(prediction, target, xp=xp)
    return error + detach(error / prediction.shape[1] - error)


def log_probabilities(logits: Any, output: Activation, *, xp: Any) -> Any:
    """Return the logarithms of softmax or sigmoid of the logits, finite wherever these are.

    The logarithm of a probability that was rounded to 0 or 1 would be −∞ or 0.
    """
    if output is sigmoid:
        return -softplus(-logits, xp=xp)
    shifted = logits - xp.max(logits, axis=1, keepdims=True)
    return shifted - xp.log(xp.sum(xp.exp(shifted), axis=1, keepdims=True))


def initial_parameters(
    sizes: Sequence[int], activations: Sequence[Activation], random: np.random.RandomState, dtype: npt.DTypeLike
) -> Layers:
    """Return weights and biases drawn as scikit-learn draws them, from the same numbers.

    Uniform within ±√(6 / (inputs + units)), biases too (Glorot & Bengio 2010); ±√(2 / …) for the logistic function.

    Parameters
    ----------
    activations
        Of each layer; for the output counts that of the layer before.
    """
    layers = []
    for (inputs, units), f in zip(pairwise(sizes), activations, strict=True):
        bound = math.sqrt((2.0 if f is sigmoid else 6.0) / (inputs + units))
        W, b = random.uniform(-bound, bound, (inputs, units)), random.uniform(-bound, bound, units)
        layers.append(Layer(W.astype(dtype, copy=False), b.astype(dtype, copy=False)))
    return tuple(layers)
