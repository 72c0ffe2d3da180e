"""Learning-rate schedules: the factor on an optimizer's rate, as a pure function of where training stands.

A user's own is any function ``factor(epoch, *, epochs, losses)``. Nothing is remembered between calls, so a run that is
resumed, or asked twice, sees the same rates. The rates of all the steps of an epoch are asked for in one call.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from gdkernels.definition.checks import check_number
from gdkernels.definition.loss_sequence import fold
from gdkernels.errors import InputError

__all__ = ["Constant", "Cosine", "Exponential", "InverseScaling", "ReduceOnPlateau", "Schedule", "Step"]

ScheduleFunction = Callable[..., Any]


@dataclass(frozen=True, kw_only=True)
class Schedule(ABC):
    """The factor on the learning rate, preceded by a linear warm-up.

    Parameters
    ----------
    warmup
        Epochs over which the factor rises linearly from 0 to the schedule's own; fractions of an epoch count.
    """

    warmup: float = 0.0

    def __post_init__(self) -> None:
        check_number(self, "warmup", lambda v: v >= 0, "a number of epochs of at least 0")

    def __call__(self, epoch: Any, *, epochs: int | None, losses: Sequence[float]) -> Any:
        """Return the factor: a number, or one for each position.

        Parameters
        ----------
        epoch
            Epochs done, the part of the one under way included: 2.5 in the middle of the third. A number or an array.
        epochs
            How many there will be, or None where that is not known.
        losses
            For each finished epoch the loss that is watched: the validation loss if there is one. A sequence that
            never changes; a fit does not copy it for each epoch, so a schedule that looks at the last few costs the
            same in every epoch.
        """
        after = self.factor(np.maximum(0.0, epoch - self.warmup), epochs, losses)
        return after * np.minimum(1.0, epoch / self.warmup) if self.warmup else after

    @abstractmethod
    def factor(self, epoch: Any, epochs: int | None, losses: Sequence[float]) -> Any:
        """Return the factor `epoch` epochs after the warm-up."""


@dataclass(frozen=True)
class Constant(Schedule):
    """Always 1."""

    def factor(self, epoch: Any, epochs: int | None, losses: Sequence[float]) -> Any:
        return 1.0


@dataclass(frozen=True)
class Step(Schedule):
    """Times `gamma` after every `every` epochs."""

    every: float = 30.0
    gamma: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self, "every", lambda v: v > 0, "a number of epochs above 0")
        _check_gamma(self)

    def factor(self, epoch: Any, epochs: int | None, losses: Sequence[float]) -> Any:
        return self.gamma ** np.floor(epoch / self.every)


@dataclass(frozen=True)
class Exponential(Schedule):
    """gamma^epoch, at every step."""

    gamma: float = 0.95

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_gamma(self)

    def factor(self, epoch: Any, epochs: int | None, losses: Sequence[float]) -> Any:
        return self.gamma**epoch


@dataclass(frozen=True)
class Cosine(Schedule):
    """Half a cosine from 1 down to `floor` at the last epoch (Loshchilov & Hutter 2017, arXiv:1608.03983)."""

    floor: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self, "floor", lambda v: 0 <= v <= 1, "a number from 0 to 1")

    def factor(self, epoch: Any, epochs: int | None, losses: Sequence[float]) -> Any:
        if epochs is None:
            raise InputError("a cosine schedule has to know how many epochs there will be: call fit(epochs=…)")
        share = np.minimum(1.0, epoch / max(epochs - self.warmup, 1e-12))
        return self.floor + (1.0 - self.floor) * 0.5 * (1.0 + np.cos(math.pi * share))


@dataclass(frozen=True)
class InverseScaling(Schedule):
    """(1 + epoch)^−`power`."""

    power: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self, "power", lambda v: v >= 0, "a finite number of at least 0")

    def factor(self, epoch: Any, epochs: int | None, losses: Sequence[float]) -> Any:
        return (1.0 + epoch) ** -self.power


class _Plateau(NamedTuple):
    """The lowest loss, the epochs since then or since the last reduction, and the factor that came of it."""

    best: float = math.inf
    waited: int = 0
    factor: float = 1.0


@dataclass(frozen=True)
class ReduceOnPlateau(Schedule):
    """Times `gamma` whenever the watched loss has not fallen by the share `threshold` for `patience` epochs."""

    gamma: float = 0.1
    patience: int = 10
    threshold: float = 1e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_gamma(self)
        check_number(self, "patience", lambda v: v >= 1, "a whole number of epochs of at least 1", whole=True)
        check_number(self, "threshold", lambda v: 0 <= v < 1, "a number of at least 0 and below 1")

    def factor(self, epoch: Any, epochs: int | None, losses: Sequence[float]) -> Any:
        return fold(self._after, losses, _Plateau()).factor

    def _after(self, so_far: _Plateau, loss: float) -> _Plateau:
        """Return what is remembered after one more epoch."""
        best, waited, factor = so_far
        if loss < best - self.threshold * abs(best) or best == math.inf:
            return _Plateau(loss, 0, factor)
        if waited + 1 == self.patience:
            return _Plateau(best, 0, factor * self.gamma)
        return _Plateau(best, waited + 1, factor)


def is_constant(schedule: ScheduleFunction) -> bool:
    """Return whether the factor is 1 in every step."""
    return type(schedule) is Constant and not schedule.warmup


def watches_losses(schedule: ScheduleFunction) -> bool:
    """Return whether the factor may depend on the losses.

    It does not for the built-in ones that are named here, nor where an attribute `watches_losses` of the schedule is
    False.
    """
    named = type(schedule) in (Constant, Step, Exponential, Cosine, InverseScaling)
    return not named and bool(getattr(schedule, "watches_losses", True))


def _check_gamma(schedule: Schedule) -> None:
    check_number(schedule, "gamma", lambda v: v > 0, "a finite number above 0")


BY_NAME: dict[str, type[Schedule]] = {
    "constant": Constant,
    "step": Step,
    "exponential": Exponential,
    "cosine": Cosine,
    "inverse_scaling": InverseScaling,
    "reduce_on_plateau": ReduceOnPlateau,
}
