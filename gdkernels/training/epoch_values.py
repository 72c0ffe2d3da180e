"""Values of an epoch: the pace that it is given, the parts that it is run in, and the totals that it returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

from gdkernels.training.checkpointing import Middle
from gdkernels.training.history import Stop

__all__ = ["EpochTotals", "Pace", "Segments"]


@dataclass(frozen=True)
class Pace:
    """The state of a fit that the learning rate depends on, besides the settings.

    Attributes
    ----------
    began
        The epochs done before the fit, within which the schedule counts.
    epochs
        The largest number of epochs of the fit; None outside a fit.
    losses
        The losses of its epochs so far, which a schedule watches.
    halvings
        The number of times that the rate was halved because training diverged.
    """

    began: int = 0
    epochs: int | None = None
    losses: Sequence[float] = ()
    halvings: int = 0


@dataclass(frozen=True)
class Segments:
    """An epoch in parts, so that a fit can stop between steps.

    Attributes
    ----------
    steps
        The number of steps in a part.
    between
        A function that gets the position in the epoch after each part but the last.
    """

    steps: Callable[[int], int]
    between: Callable[[Middle], None]


class EpochTotals(NamedTuple):
    """The totals of a pass.

    Attributes
    ----------
    records, error
        The records of a pass, and E over them.
    norm, rate
        The mean norm of the gradient if asked for, and the rate of the last step.
    figures
        What else an epoch of a solver tells, by the names of the fields of `Epoch`.
    stop
        Why a solver ends training with this epoch; None where it goes on.
    """

    records: int
    error: float
    norm: float | None
    rate: float
    figures: Mapping[str, Any] = MappingProxyType({})
    stop: Stop | None = None
