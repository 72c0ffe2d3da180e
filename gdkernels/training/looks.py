"""When anybody looks at a fit: how many epochs run at once, before its network or its losses are looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from gdkernels.data.records import Records
from gdkernels.definition.schedules import watches_losses
from gdkernels.errors import InputError, shown
from gdkernels.system.given import items_of
from gdkernels.training.checkpointing import Checkpointer
from gdkernels.training.history import Epoch, History
from gdkernels.training.placement import Where
from gdkernels.training.runner import Runner
from gdkernels.training.settings import FitSettings
from gdkernels.training.together import Together

__all__ = ["Callback", "Looks", "checked_callbacks"]

# One with a method `next_look` says after how many further epochs it may end training, or read or change anything.
Callback = Callable[[Epoch], Any]


def checked_callbacks(callbacks: Iterable[Callback]) -> tuple[Callback, ...]:
    """Return the callbacks.

    Raises
    ------
    InputError
        If it is no list of functions.
    """
    given = None if callable(callbacks) else items_of(callbacks)
    if given is None:
        raise InputError(f"callbacks must be a list of functions, got {shown(callbacks)}: write [f], or []")
    for callback in given:
        if not callable(callback):
            raise InputError(f"callbacks: a callback must be a function of an Epoch, got {shown(callback)}")
    return given


_AT_ONCE = 0.1  # seconds of epochs before anybody can interrupt, or see the bar move
_MOST_ROWS = 1 << 22  # whose order is there at once
# Of a job that nobody can interrupt: some tenths of a second at the most, and an order of 16 MB.
_MOST_ROWS_OF_JOB, _MOST_STEPS_OF_JOB, _MOST_FLOPS_OF_JOB = 1 << 21, 1 << 15, 2e10


class Looks:
    """Who looks at a fit after an epoch: the fit itself, its callbacks, or somebody who waits for the bar to move.

    Parameters
    ----------
    runner, placement, asked, checkpointer, together
        Those of the `gdkernels.training.fit.Fit`.
    """

    def __init__(
        self,
        runner: Runner,
        placement: Where,
        asked: FitSettings,
        checkpointer: Checkpointer | None,
        together: Together,
    ) -> None:
        self._runner, self._placement, self._asked = runner, placement, asked
        self._checkpointer, self._together = checkpointer, together

    @property
    def of_the_fit(self) -> bool:
        """Whether the fit itself looks at the network or the losses after each epoch."""
        asked = self._asked
        return (
            asked.patience is not None
            or asked.stop_gradient_norm is not None
            or self._placement.now.evaluator.measures
            or self._checkpointer is not None
            or self._runner.each_step is not None
            or watches_losses(self._runner.settings.schedule)
        )

    def epochs_at_once(self, history: History, callbacks: Sequence[Callback], *, watched: bool) -> int:
        """Return how many epochs can be run before anything looks at the network or the losses.

        Parameters
        ----------
        watched
            Whether this rank has callbacks, or another one has.
        """
        now, left = self._placement.now, self._asked.epochs - len(history.epochs)
        seconds = history.epochs[-1].seconds if history.epochs else now.seconds
        if left == 1 or seconds is None:
            return 1
        looks = [getattr(callback, "next_look", _after_one)() for callback in callbacks]
        looks = [self._together.least(min(looks, default=left))] if watched else []
        if looks and min(looks) <= 1:
            return 1
        if self.of_the_fit or not isinstance(now.train, Records):
            return 1
        by_time = int(_AT_ONCE / max(seconds, 1e-9))
        return max(1, min(by_time, left, _MOST_ROWS // len(now.train), *looks))

    def fit_is_one_job(self) -> bool:
        """Return whether all the epochs can be run without a look, because they are soon done."""
        if self.of_the_fit:
            return False
        now, epochs = self._placement.now, self._asked.epochs
        records = now.job.records
        rows, steps = epochs * records, epochs * -(-records // now.job.batch)
        flops = 6 * self._runner.network.structure.multiply_adds * rows
        return rows <= _MOST_ROWS_OF_JOB and steps <= _MOST_STEPS_OF_JOB and flops <= _MOST_FLOPS_OF_JOB


def _after_one() -> int:
    return 1
