"""The work of a fit where its network computes; on the next backend, if one fails that nobody named."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from gdkernels.data.batches import Batches
from gdkernels.dispatch.binding import Binding
from gdkernels.errors import BackendError
from gdkernels.training.checkpointing import Checkpointer, Run
from gdkernels.training.placement import Placed, Where
from gdkernels.training.runner import Runner

__all__ = ["Failover"]

Done = TypeVar("Done")


class Failover:
    """Does work of a fit, and brings all that the fit keeps to where the network computes then.

    Parameters
    ----------
    runner, placement, run, checkpointer
        Those of the `gdkernels.training.fit.Fit`.
    """

    def __init__(self, runner: Runner, placement: Where, run: Run, checkpointer: Checkpointer | None) -> None:
        self._runner, self._placement, self._run, self._checkpointer = runner, placement, run, checkpointer

    def do(self, work: Callable[[Placed], Done]) -> Done:
        """Return the result of `work` on the placed data; if a backend fails that nobody named, on the next one.

        Steps go on from the last epoch's end, or from its middle if that is known to the step.

        Raises
        ------
        BackendError
            If no backend comes next, or the data can be read only once.
        """
        while True:
            placed = self._placement.now
            try:
                done = work(placed)
            except BackendError as error:
                middle = self._run.middle
                at = self._runner.state().step + (0 if middle is None else middle.steps)
                once = isinstance(placed.train, Batches) and placed.train.once
                if once or not self._placement.elsewhere(error):
                    raise
                if middle is not None and middle.state.step != at:  # what failed had done a part of its steps
                    self._run.middle = None
                self._follow(placed.binding)
                continue
            if self._runner.network.binding is not placed.binding:  # batches go on by themselves
                self._follow(placed.binding)
            return done

    def _follow(self, old: Binding) -> None:
        """Bring all that the fit keeps to where the network computes now, and say so in the history."""
        now = self._placement.now.binding
        self._run.move(old, now)
        if self._checkpointer is not None:
            self._checkpointer.follow(now)
        self._placement.tell(self._run.history)
