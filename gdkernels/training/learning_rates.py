"""The learning rate of each step: the optimizer's, times the factor of the schedule."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from gdkernels.definition.schedules import is_constant
from gdkernels.training.epoch_values import Pace
from gdkernels.training.settings import Settings

__all__ = ["rates_of_epoch", "rates_of_epochs"]


def rates_of_epoch(settings: Settings, epoch: int, steps: int, pace: Pace) -> npt.NDArray[np.float64]:
    """Return the learning rates of an epoch, [steps]; `epoch` is the number of those done before it."""
    position = epoch - pace.began + np.arange(steps) / steps
    factor = settings.schedule(position, epochs=pace.epochs, losses=pace.losses)
    halved = settings.optimizer.learning_rate * 0.5**pace.halvings
    factors = np.asarray(factor, dtype=np.float64)
    if not factors.ndim:  # as it often is; broadcasting takes longer
        return np.full(steps, factors * halved)
    return np.broadcast_to(factors, (steps,)) * halved


def rates_of_epochs(settings: Settings, epochs: Sequence[int], steps: int, pace: Pace) -> npt.NDArray[np.float64]:
    """Return the learning rates of several epochs, [epochs, steps]."""
    if is_constant(settings.schedule):
        return np.full((len(epochs), steps), float(settings.optimizer.learning_rate * 0.5**pace.halvings))
    return np.stack([rates_of_epoch(settings, epoch, steps, pace) for epoch in epochs])
