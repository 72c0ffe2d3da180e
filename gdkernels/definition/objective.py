"""The objective of training: a loss, a penalty on weights, and the sum or mean that the gradient is of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from gdkernels.definition.activations import Activation
from gdkernels.definition.losses import BinaryCrossEntropy, CrossEntropy, Loss, is_classifier, link_of
from gdkernels.definition.naming import describe, resolve
from gdkernels.errors import InputError, shown
from gdkernels.system.given import checked_switch, one_of
from gdkernels.system.ranges import POSITIVE, at_least

__all__ = ["Objective", "checked_reduction"]


@dataclass(frozen=True)
class Objective:
    """The quantity that gradient descent makes small.

    Attributes
    ----------
    loss
        A value ℓ for each record; E is their sum.
    l2
        λ of the penalty ½λ‖W‖² on the weights, not the biases. Its gradient λW joins that of the loss.
    l2_in_loss
        Whether the penalty is a part of E, and divided like the rest of it.
    clip_norm
        The largest norm of the gradient with its penalty; a longer one is scaled down to it.
    reduction
        "mean": a step uses the gradient of E/B, B the records in the batch; "sum": that of E.
    """

    loss: Loss
    l2: Any = 0.0  # a number; the node that stands for it while a program is traced, as for clip_norm
    l2_in_loss: bool = False
    clip_norm: Any = None
    reduction: str = "mean"

    @classmethod
    def checked(
        cls,
        loss: str | Loss = "sse",
        *,
        l2: float = 0.0,
        l2_in_loss: bool = False,
        clip_norm: float | None = None,
        reduction: str = "mean",
        outputs: int,
    ) -> Objective:
        """Return the objective of a network with so many `outputs`, the loss resolved by its name.

        Raises
        ------
        InputError
            For unknown names and numbers out of range.
        """
        given = loss, l2, l2_in_loss, clip_norm, reduction, outputs
        # Asked for each of many models, which seldom have another; what is no plain value may have no hash.
        return _known(*given) if _PLAIN.issuperset(map(type, given)) else _checked(*given)

    @property
    def link(self) -> Activation:
        """The activation that makes predictions of what the loss takes; the identity where it takes predictions."""
        return link_of(self.loss)

    @property
    def classifies(self) -> bool:
        """Whether a network trained for it predicts classes."""
        return is_classifier(self.loss)

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as JSON can hold it."""
        return vars(self) | {"loss": describe(self.loss)}


def checked_reduction(reduction: str) -> str:
    """Return `reduction`; raise `InputError` unless it is "mean" or "sum"."""
    return one_of("reduction", reduction, ("mean", "sum"))


_PLAIN = frozenset({str, float, int, bool, type(None)})


def _checked(
    loss: str | Loss, l2: float, l2_in_loss: bool, clip_norm: float | None, reduction: str, outputs: int
) -> Objective:
    if not at_least(0).has(l2):
        raise InputError(f"l2 must be a finite number of at least 0, got {shown(l2)}")
    if clip_norm is not None and not POSITIVE.has(clip_norm):
        raise InputError(f"clip_norm must be a positive finite number or None, got {shown(clip_norm)}")
    chosen = resolve("loss", loss)
    if isinstance(chosen, CrossEntropy) and outputs == 1:
        chosen = BinaryCrossEntropy()  # the same thing for one output, which softmax would make constant
    norm = None if clip_norm is None else float(clip_norm)
    return Objective(chosen, float(l2), checked_switch("l2_in_loss", l2_in_loss), norm, checked_reduction(reduction))


_known = lru_cache(maxsize=256, typed=True)(_checked)
