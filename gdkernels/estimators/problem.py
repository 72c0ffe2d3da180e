"""The problem that a solver is given, besides the estimator's parameters."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gdkernels.definition.losses import Loss
from gdkernels.estimators.inputs import Given
from gdkernels.estimators.rules import mean_over_outputs
from gdkernels.network import BoundNetwork

__all__ = ["PresentRate", "Problem", "Stall"]


@dataclass
class Stall:
    """The number of epochs in a row without improvement; it goes on from one `partial_fit` to the next."""

    epochs: int = 0


class PresentRate:
    """The learning rate that an estimator has now: a schedule for optimizers whose own rate is 1.

    A trainer outlives the fit and keeps its schedule, so this refers to the estimator weakly: memory that refers to
    itself in a circle would stay taken until Python's garbage collector runs, which looks at no sizes.
    """

    watches_losses = False  # who changes the rate says when

    def __init__(self, estimator: Any) -> None:
        self._estimator = weakref.ref(estimator)

    def __call__(self, epoch: Any, *, epochs: int | None, losses: Any) -> float:
        return float(self._estimator().learning_rate_)  # type: ignore[union-attr]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PresentRate) and self._estimator == other._estimator

    def __hash__(self) -> int:
        return hash(PresentRate)


@dataclass(frozen=True)
class Problem:
    """The problem that an estimator sets its solver.

    Attributes
    ----------
    loss
        What is minimised.
    loss_scale
        What the loss of the records, without the penalty, is divided by to be reported.
    rate
        The learning rate of an epoch.
    strata
        Returns what the validation split of some records is stratified by, or None.
    score
        Returns the score of a network on some records.
    stall
        How many epochs have brought no improvement.
    show
        Has the estimator show the present parameters as its own.
    """

    loss: Loss
    loss_scale: int
    rate: Callable[..., float]
    strata: Callable[[Given], Any]
    score: Callable[[BoundNetwork, Given], float]
    stall: Stall
    show: Callable[[], None]

    @property
    def shown_loss(self) -> Loss:
        """The loss with the value that is reported, and the gradient of the one that is minimised."""
        return self.loss if self.loss_scale == 1 else mean_over_outputs
