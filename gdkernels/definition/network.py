"""The definition: forward pass, gradient, weight update, and the training step made of them.

Pure functions of the array namespace `xp`: they return new arrays and use only the Array API standard. Every backend
runs these, as they are or compiled from their trace; no formula stands anywhere else.

Rows are records. Layer l takes a_{l−1} [records, n_{l−1}] to z_l = a_{l−1} W_l + b_l and a_l = f_l(z_l), where W_l has
the shape (n_{l−1}, n_l); ŷ is the last a.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any, NamedTuple

from gdkernels.definition.activations import Activation
from gdkernels.definition.losses import Loss
from gdkernels.definition.objective import Objective, checked_reduction
from gdkernels.definition.optimizers import Optimizer
from gdkernels.graph import returned, value_and_pullback

__all__ = ["Layer", "forward", "gradient", "gradient_norm", "map_layers", "step_along", "train_step", "update"]


class Layer(NamedTuple):
    """What belongs to one layer: its weights and biases, or their gradients, or their optimizer slots.

    ``W`` has the shape (inputs, units), ``b`` the shape (units,); ``b`` is None in a network without biases.
    """

    W: Any
    b: Any = None


Layers = Sequence[Layer]


def map_layers(f: Callable[..., Any], *layers: Layers) -> tuple[Layer, ...]:
    """Return ``f`` of the weights and of the biases of each layer, taken side by side."""
    return tuple(
        Layer(f(*(s.W for s in side)), None if side[0].b is None else f(*(s.b for s in side)))
        for side in zip(*layers, strict=True)
    )


def forward(parameters: Layers, x: Any, *, activations: Sequence[Activation], xp: Any) -> Any:
    """Return ŷ [records, outputs] for x [records, inputs].

    Parameters
    ----------
    parameters
        A `Layer` of weights and biases for each layer.
    activations
        A function for each layer, the output's last.
    """
    a = x
    for layer, f in zip(parameters, activations, strict=True):
        a = f(_affine(a, layer, xp=xp), xp=xp)
    return a


def gradient(
    parameters: Layers,
    x: Any,
    y: Any,
    *,
    activations: Sequence[Activation],
    loss: Loss,
    sample_weight: Any = None,
    reduction: str = "mean",
    xp: Any,
) -> tuple[Any, tuple[Layer, ...]]:
    """Return E, and the gradient of E/B (`reduction` "mean", B the records) or of E ("sum").

    E = Σ_μ ℓ over the records of x [B, inputs] and y [B, outputs]. With δ_L = ∂E/∂z_L:
    ∂E/∂W_l = a_{l−1}ᵀ δ_l, ∂E/∂b_l = Σ_μ δ_l, and δ_{l−1} = (δ_l W_lᵀ) ∘ f'(z_{l−1}), or the vector–Jacobian product
    where f is not elementwise.

    With a `sample_weight` w [B], E = Σ_μ w ℓ, and "mean" divides by Σ_μ w; where that is 0, so is the gradient.
    """
    checked_reduction(reduction)
    inputs, pull_backs, a = [], [], x
    for layer, f in zip(parameters, activations, strict=True):
        inputs.append(a)
        a, pull_back = value_and_pullback(f, elementwise=True)(_affine(a, layer, xp=xp), xp=xp)
        pull_backs.append(pull_back)
    weighted = () if sample_weight is None else (sample_weight,)
    error, pull_back_loss = value_and_pullback(_Total(loss))(a, y, *weighted, xp=xp)

    upstream = pull_back_loss(1.0 if reduction == "sum" or weighted else 1.0 / x.shape[0])
    gradients = []
    for k in reversed(range(len(parameters))):
        delta = pull_backs[k](upstream)
        has_bias = parameters[k].b is not None
        gradients.append(Layer(xp.matmul(inputs[k].T, delta), xp.sum(delta, axis=0) if has_bias else None))
        if k:
            upstream = xp.matmul(delta, parameters[k].W.T)
    if reduction == "mean" and weighted:
        # Divided last: compiled steps know the sum over the batch only when the batch is done.
        share = _per_record(x, sample_weight, xp=xp)
        gradients = list(map_layers(lambda g: g * share, gradients))
    return error, tuple(reversed(gradients))


def gradient_norm(gradients: Layers, *, xp: Any) -> Any:
    """Return the Euclidean norm of all the gradients together."""
    return xp.sqrt(_sum(xp.sum(g * g) for layer in gradients for g in layer if g is not None))


def update(
    parameters: Layers,
    gradients: Layers,
    slots: Layers,
    *,
    optimizer: Optimizer,
    learning_rate: Any,
    t: Any,
    clip_norm: float | None = None,
    norm: Any = None,
    xp: Any,
) -> tuple[tuple[Layer, ...], tuple[Layer, ...]]:
    """Return new parameters and optimizer slots: one step of `optimizer` on every weight and bias.

    Parameters
    ----------
    slots
        For each weight and bias the tuple of arrays that the optimizer carries.
    learning_rate, t
        The rate of this step, and its number from 1.
    clip_norm, norm
        With `clip_norm`, all gradients are scaled so that their norm, `norm`, does not exceed it.
    """
    # Never a division by a small norm: the larger of the two is in the denominator.
    scale = None if clip_norm is None else clip_norm / xp.maximum(norm, clip_norm)

    def step(w: Any, g: Any, s: Any, decay: float) -> tuple[Any, Any]:
        g = g if scale is None else g * scale
        w = w - (learning_rate * decay) * w if decay else w
        return optimizer.rule(w, g, s, learning_rate=learning_rate, t=t, xp=xp)

    moved = [
        Layer(
            step(p.W, g.W, s.W, optimizer.weight_decay),
            None if p.b is None else step(p.b, g.b, s.b, 0.0),
        )
        for p, g, s in zip(parameters, gradients, slots, strict=True)
    ]
    return map_layers(lambda pair: pair[0], moved), map_layers(lambda pair: pair[1], moved)


def train_step(
    parameters: Layers,
    slots: Layers,
    x: Any,
    y: Any,
    *,
    activations: Sequence[Activation],
    objective: Objective,
    optimizer: Optimizer,
    learning_rate: Any,
    t: Any,
    sample_weight: Any = None,
    with_norm: bool = False,
    xp: Any,
) -> tuple[Any, Any, tuple[Layer, ...], tuple[Layer, ...]]:
    """Return E before the step, the norm of the gradient (or None), the new parameters and the new slots.

    Parameters
    ----------
    objective
        E leaves its penalty out, unless that is in the loss.
    sample_weight
        As for `gradient`.
    with_norm
        Whether the norm is asked for: that of the gradient with the penalty, before clipping.
    """
    error, gradients = gradient(
        parameters,
        x,
        y,
        activations=activations,
        loss=objective.loss,
        sample_weight=sample_weight,
        reduction=objective.reduction,
        xp=xp,
    )
    shared = _is_penalised(objective) and objective.l2_in_loss and objective.reduction == "mean"
    return step_along(
        parameters,
        slots,
        error,
        gradients,
        per_record=_per_record(x, sample_weight, xp=xp) if shared else None,
        objective=objective,
        optimizer=optimizer,
        learning_rate=learning_rate,
        t=t,
        with_norm=with_norm,
        xp=xp,
    )


def step_along(
    parameters: Layers,
    slots: Layers,
    error: Any,
    gradients: Layers,
    *,
    per_record: Any,
    objective: Objective,
    optimizer: Optimizer,
    learning_rate: Any,
    t: Any,
    with_norm: bool = False,
    xp: Any,
) -> tuple[Any, Any, tuple[Layer, ...], tuple[Layer, ...]]:
    """Return what `train_step` does, from E without a penalty and the gradient.

    Parameters
    ----------
    per_record
        What the penalty's gradient is divided by as a part of E/B, as a factor; None where it is not divided.
    """
    if _is_penalised(objective):
        share = objective.l2 if per_record is None else objective.l2 * per_record
        gradients = tuple(Layer(g.W + share * p.W, g.b) for g, p in zip(gradients, parameters, strict=True))
        if objective.l2_in_loss:
            error = error + 0.5 * objective.l2 * _sum(xp.sum(p.W * p.W) for p in parameters)
    norm = gradient_norm(gradients, xp=xp) if with_norm or objective.clip_norm is not None else None
    parameters, slots = update(
        parameters,
        gradients,
        slots,
        optimizer=optimizer,
        learning_rate=learning_rate,
        t=t,
        clip_norm=objective.clip_norm,
        norm=norm,
        xp=xp,
    )
    return error, norm, parameters, slots


def _is_penalised(objective: Objective) -> bool:
    """Return whether there is a penalty: λ is a number above 0, or the node that stands for one."""
    return not (isinstance(objective.l2, (int, float)) and objective.l2 == 0)


def _sum(numbers: Iterable[Any]) -> Any:
    return reduce(add, numbers)


def _per_record(x: Any, sample_weight: Any, *, xp: Any) -> Any:
    """Return 1/B or 1/Σw; for records without any weight, whose gradient is 0, 1."""
    if sample_weight is None:
        return 1.0 / x.shape[0]
    total = xp.sum(sample_weight)
    return 1.0 / xp.where(total > 0, total, 1.0)


def _affine(a: Any, layer: Layer, *, xp: Any) -> Any:
    z = xp.matmul(a, layer.W)
    return z if layer.b is None else z + layer.b


@dataclass(frozen=True)
class _Total:
    """The sum of a loss over the records, each times its weight: what is differentiated, on the recording namespace."""

    loss: Loss

    def __call__(self, prediction: Any, target: Any, sample_weight: Any = 1.0, *, xp: Any) -> Any:
        value = self.loss(prediction, target, xp=xp)
        rule = "a loss returns a number for each record, such as xp.sum(…, axis=-1)"
        return xp.sum(sample_weight * returned(value, self.loss, prediction.shape[:1], rule))
