"""Trainings that go an epoch at a time, so that rows left out can be looked at in between."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TypeVar

from gdkernels.backend import Job
from gdkernels.data.records import Records
from gdkernels.dispatch.binding import Binding
from gdkernels.errors import BackendError, DivergenceError
from gdkernels.network import BoundNetwork
from gdkernels.tabular.networks.fitting import PreparedRows, diverged
from gdkernels.training.epoch_runner import EpochRunner
from gdkernels.training.epoch_values import Pace
from gdkernels.training.trainer import Trainer

__all__ = ["EpochByEpoch", "epoch_of_each"]

_WORTH = 5e7  # FLOPs of an epoch of all, some milliseconds: others end before threads have begun

Found = TypeVar("Found")


class EpochByEpoch:
    """A training without some of the rows, an epoch at a time; on the next backend where one fails.

    Attributes
    ----------
    trained
        The number of rows that it is trained on.
    weight, before
        The weight of the rows left out, and their error before training.
    multiply_adds
        Those of an epoch, forward.
    """

    def __init__(self, trainer: Trainer, parts: tuple[PreparedRows, PreparedRows], epochs: int) -> None:
        self._trainer, self._parts, self._epochs = trainer, parts, epochs
        self._placed: tuple[Records, Records] | None = None
        self._ended = False  # a solver has nothing left to gain: the network stays as it is
        network = trainer.mlp.network
        self.trained, self.weight, self.before = self._there(
            lambda records, others: (len(records), others.total_weight, network.error(others))
        )
        self.multiply_adds = self.trained * network.structure.multiply_adds

    def epoch(self, number: int, measure: Callable[[BoundNetwork, Records], Found]) -> Found:
        """Do an epoch of this number, and return what `measure` makes of the network and the rows left out."""
        runner, network = self._trainer.runner, self._trainer.mlp.network

        def run(records: Records, others: Records) -> Found:
            try:
                if runner.epochs_done < number and not self._ended:
                    self._ended = runner.run(records, Pace()).stop is not None
            except DivergenceError:
                settings = self._trainer.settings
                raise diverged(number, None if settings.solver else settings.optimizer) from None
            return measure(network, others)

        return self._there(run)

    @property
    def threads(self) -> int:
        """The most that compute where the network does."""
        network = self._trainer.mlp.network
        with network.bound(self._parts[0].x) as binding:
            return max(binding.backend.threads(binding.device), default=1)

    def job(self) -> Job | None:
        """Return the next epoch as a job for `follow`; None where `epoch` does it alone."""
        runner, binding = self._trainer.runner, self._trainer.mlp.network.binding
        if self._placed is None or binding is not self._placed[0].binding or not binding.on_host:
            return None
        if self._placed[0].sparse or not isinstance(runner, EpochRunner):
            return None
        return runner.job(self._placed[0], Pace(), 1)

    def follow(self, job: Job, found: list[tuple[float, float | None]]) -> None:
        """Take over what a job has done; if it has diverged, nothing changes, and `epoch` finds out why."""
        assert self._placed is not None
        assert isinstance(self._trainer.runner, EpochRunner)
        self._trainer.runner.follow_job(job, found, self._placed[0])

    def _there(self, compute: Callable[[Records, Records], Found]) -> Found:
        def placed(binding: Binding) -> Found:
            if self._placed is None or self._placed[0].binding is not binding:
                place = self._trainer.runner.place_records
                train, left_out = (place(rows.x, rows.y, rows.weights) for rows in self._parts)
                self._placed = train, left_out
            return compute(*self._placed)

        work = partial(self._trainer.workload, epochs=self._epochs)
        return self._trainer.mlp.network.computing(self._parts[0].x, placed, work)


def epoch_of_each(
    trainings: Sequence[EpochByEpoch], number: int, measure: Callable[[BoundNetwork, Records], Found]
) -> list[Found]:
    """Do an epoch of this number of each training, several at a time where each takes one thread."""
    work = 6.0 * sum(one.multiply_adds for one in trainings)
    asked = [(one, job) for one in trainings if work > _WORTH and (job := one.job()) is not None]
    if len(asked) > 1:
        threads = min(one.threads for one, _ in asked)
        with suppress(BackendError):  # each goes on where its network does then
            done = asked[0][1].executable.run_many([job for _, job in asked], threads)
            for (one, job), found in zip(asked, done, strict=True):
                one.follow(job, found)
    return [one.epoch(number, measure) for one in trainings]
