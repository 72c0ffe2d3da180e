"""The definition: forward pass, gradient, weight update, and the training step made of them.

Pure functions of the array namespace `xp`: they return new arrays and use only the Array API standard. Every backend
runs these, as they are or compiled from their trace; no formula stands anywhere else.

A network is a block, and its parameters are arrays by name. Rows are records: the block takes x [records, inputs] to
ŷ [records, outputs].
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from numbers import Real
from operator import add
from typing import Any

from gdkernels.definition.blocks.block import Block
from gdkernels.definition.losses import Loss
from gdkernels.definition.objective import Objective, checked_reduction
from gdkernels.definition.optimizers import Optimizer
from gdkernels.errors import InputError
from gdkernels.graph import returned, value_and_pullbacks
from gdkernels.graph.namespace import apart
from gdkernels.graph.nodes import same_shape
from gdkernels.graph.record_wise import check_apart
from gdkernels.randomness import RandomNumbers

__all__ = ["Arrays", "Slots", "forward", "gradient", "gradient_norm", "step_along", "train_step", "update"]

Arrays = Mapping[str, Any]
Slots = Mapping[str, tuple[Any, ...]]


def forward(block: Block, parameters: Arrays, x: Any, *, random: Any = None, xp: Any) -> Any:
    """Return ŷ [records, outputs] for x [records, inputs].

    Parameters
    ----------
    parameters
        The parameters and constants of `block`, by name.
    random
        What blocks draw numbers from in training; None in prediction.
    """
    return block(parameters, x, xp=xp, random=random)


def gradient(
    block: Block,
    parameters: Arrays,
    x: Any,
    y: Any,
    *,
    trained: Collection[str],
    loss: Loss,
    sample_weight: Any = None,
    row_keys: Any = None,
    reduction: str = "mean",
    xp: Any,
) -> tuple[Any, dict[str, Any]]:
    """Return E, and by name the gradient of E/B (`reduction` "mean", B the records) or of E ("sum").

    E = Σ_μ ℓ over the records of x [B, inputs] and y [B, outputs]. Its gradient is the pull-back of what is recorded
    of E. In a chain of dense layers, that comes to δ_L = ∂E/∂z_L; ∂E/∂W_l = a_{l−1}ᵀ δ_l, ∂E/∂b_l = Σ_μ δ_l, and
    δ_{l−1} = (δ_l W_lᵀ) ∘ f'(z_{l−1}), or the vector–Jacobian product where f is not elementwise.

    With a `sample_weight` w [B], E = Σ_μ w ℓ, and "mean" divides by Σ_μ w; where that is 0, so is the gradient.

    Parameters
    ----------
    trained
        The names of the parameters that there is a gradient for.
    row_keys
        The keys [B] of the random numbers of the records, as `gdkernels.randomness` makes them; without them, blocks
        compute what they do in prediction.
    """
    checked_reduction(reduction)
    names = (*trained, *(name for name in parameters if name not in trained))
    weighted = () if sample_weight is None else (sample_weight,)
    keyed = () if row_keys is None else (row_keys,)
    total = _Total(block, loss, names, draws=row_keys is not None)
    arrays = [parameters[name] for name in names]
    run = value_and_pullbacks(total, len(trained), per_record=2 + len(weighted) + len(keyed), integers=len(keyed))
    error, pull_back = run(*arrays, x, y, *weighted, *keyed, xp=xp)
    gradients: dict[str, Any] = {}
    for name, g in zip(names, pull_back(1.0 if reduction == "sum" or weighted else 1.0 / x.shape[0]), strict=False):
        gradients[name] = apart(g, name) if any(g is other for other in gradients.values()) else g
    if reduction == "mean" and weighted:
        # Divided last: compiled steps know the sum over the batch only when the batch is done.
        share = _per_record(x, sample_weight, xp=xp)
        gradients = {name: g * share for name, g in gradients.items()}
    return error, gradients


def gradient_norm(gradients: Arrays, *, xp: Any) -> Any:
    """Return the Euclidean norm of all the gradients together."""
    return xp.sqrt(_sum(xp.sum(g * g) for g in gradients.values()))


def update(
    parameters: Arrays,
    gradients: Arrays,
    slots: Slots,
    *,
    decaying: Collection[str],
    optimizer: Optimizer,
    learning_rate: Any,
    t: Any,
    clip_norm: float | None = None,
    norm: Any = None,
    xp: Any,
) -> tuple[dict[str, Any], dict[str, tuple[Any, ...]]]:
    """Return new parameters and optimizer slots: one step of `optimizer` on every parameter that has a gradient.

    Parameters
    ----------
    slots
        For each of these the tuple of arrays that the optimizer carries.
    decaying
        The names of those that the optimizer's decay touches.
    learning_rate, t
        The rate of this step, and its number from 1.
    clip_norm, norm
        With `clip_norm`, all gradients are scaled so that their norm, `norm`, does not exceed it.
    """
    # Never a division by a small norm: the larger of the two is in the denominator.
    scale = None if clip_norm is None else clip_norm / xp.maximum(norm, clip_norm)
    parameters, slots = dict(parameters), dict(slots)
    for name, g in gradients.items():
        w, decay = parameters[name], optimizer.weight_decay if name in decaying else 0.0
        scaled = g if scale is None else g * scale
        w = w if _is_nought(decay) else w - (learning_rate * decay) * w
        parameters[name], slots[name] = optimizer.rule(w, scaled, slots[name], learning_rate=learning_rate, t=t, xp=xp)
    return parameters, slots


def train_step(
    block: Block,
    parameters: Arrays,
    slots: Slots,
    x: Any,
    y: Any,
    *,
    trained: Collection[str],
    decaying: Collection[str],
    objective: Objective,
    optimizer: Optimizer,
    learning_rate: Any,
    t: Any,
    sample_weight: Any = None,
    row_keys: Any = None,
    with_norm: bool = False,
    seen: dict[str, Any] | None = None,
    xp: Any,
) -> tuple[Any, Any, dict[str, Any], dict[str, tuple[Any, ...]]]:
    """Return E before the step, the norm of the gradient (or None), the new parameters and the new slots.

    Parameters
    ----------
    trained, sample_weight, row_keys
        As for `gradient`.
    decaying
        The names of the parameters that the penalty and the optimizer's decay touch.
    objective
        E leaves its penalty out, unless that is in the loss.
    with_norm
        Whether the norm is asked for: that of the gradient with the penalty, before clipping.
    seen
        A dictionary to put the gradient into, without the penalty, for a caller who wants to see it.
    """
    error, gradients = gradient(
        block,
        parameters,
        x,
        y,
        trained=trained,
        loss=objective.loss,
        sample_weight=sample_weight,
        row_keys=row_keys,
        reduction=objective.reduction,
        xp=xp,
    )
    if seen is not None:
        seen |= gradients
    shared = _is_penalised(objective) and objective.l2_in_loss and objective.reduction == "mean"
    return step_along(
        parameters,
        slots,
        error,
        gradients,
        decaying=decaying,
        per_record=_per_record(x, sample_weight, xp=xp) if shared else None,
        objective=objective,
        optimizer=optimizer,
        learning_rate=learning_rate,
        t=t,
        with_norm=with_norm,
        xp=xp,
    )


def step_along(
    parameters: Arrays,
    slots: Slots,
    error: Any,
    gradients: Arrays,
    *,
    decaying: Collection[str],
    per_record: Any,
    objective: Objective,
    optimizer: Optimizer,
    learning_rate: Any,
    t: Any,
    with_norm: bool = False,
    xp: Any,
) -> tuple[Any, Any, dict[str, Any], dict[str, tuple[Any, ...]]]:
    """Return what `train_step` does, from E without a penalty and the gradient.

    Parameters
    ----------
    per_record
        What the penalty's gradient is divided by as a part of E/B, as a factor; None where it is not divided.
    """
    penalised = [name for name in gradients if name in decaying]
    if _is_penalised(objective) and penalised:
        share = objective.l2 if per_record is None else objective.l2 * per_record
        gradients = {n: g + share * parameters[n] if n in decaying else g for n, g in gradients.items()}
        if objective.l2_in_loss:
            error = error + 0.5 * objective.l2 * _sum(xp.sum(parameters[n] * parameters[n]) for n in penalised)
    norm = gradient_norm(gradients, xp=xp) if with_norm or objective.clip_norm is not None else None
    moved, moved_slots = update(
        parameters,
        gradients,
        slots,
        decaying=decaying,
        optimizer=optimizer,
        learning_rate=learning_rate,
        t=t,
        clip_norm=objective.clip_norm,
        norm=norm,
        xp=xp,
    )
    return error, norm, moved, moved_slots


def _is_penalised(objective: Objective) -> bool:
    """Return whether there is a penalty."""
    return not _is_nought(objective.l2)


def _is_nought(value: Any) -> bool:
    """Return whether a setting is the number 0, and not the node that stands for one while a program is traced."""
    return isinstance(value, Real) and value == 0


def _sum(numbers: Iterable[Any]) -> Any:
    return reduce(add, numbers)


def _per_record(x: Any, sample_weight: Any, *, xp: Any) -> Any:
    """Return 1/B or 1/Σw; for records without any weight, whose gradient is 0, 1."""
    if sample_weight is None:
        return 1.0 / x.shape[0]
    total = xp.sum(sample_weight)
    return 1.0 / xp.where(total > 0, total, 1.0)


@dataclass(frozen=True)
class _Total:
    """E: the sum of a loss over the records, each times its weight; it is recorded and differentiated."""

    block: Block
    loss: Loss
    names: tuple[str, ...]
    draws: bool

    def __call__(self, *arrays: Any, xp: Any) -> Any:
        count = len(self.names)
        x, target, *weighted = arrays[count:]
        random = RandomNumbers(weighted.pop()) if self.draws else None
        prediction = forward(self.block, dict(zip(self.names, arrays, strict=False)), x, random=random, xp=xp)
        sizes = (*prediction.shape[1:], *target.shape[1:])
        if [getattr(n, "size", n) for n in sizes] == [1, 1]:  # of a sum that keeps its axis, 1 is recorded as such
            prediction = xp.broadcast_to(prediction, target.shape)
        if not same_shape(prediction.shape, target.shape):
            raise InputError(f"y has the shape {list(target.shape)}; the network's output, {list(prediction.shape)}")
        value = self.loss(prediction, target, xp=xp)
        rule = "a loss returns a number for each record, such as xp.sum(…, axis=-1)"
        of_record = returned(value, self.loss, prediction.shape[:1], rule)
        check_apart(of_record, x.shape[0])
        return xp.sum(weighted[0] * of_record if weighted else of_record)
