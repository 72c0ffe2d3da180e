"""A training that goes an epoch at a time, so that rows left out can be looked at in between."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from gdkernels.data.records import Records
from gdkernels.dispatch.binding import Binding
from gdkernels.errors import DivergenceError
from gdkernels.network import BoundNetwork
from gdkernels.tabular.fitting import PreparedRows, diverged
from gdkernels.training.epoch_values import Pace
from gdkernels.training.trainer import Trainer

__all__ = ["EpochByEpoch"]

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
        runner, network, before = self._trainer.runner, self._trainer.mlp.network, self._trainer.runner.epochs_done

        def run(records: Records, others: Records) -> Found:
            try:
                if runner.epochs_done == before and not self._ended:
                    self._ended = runner.run(records, Pace()).stop is not None
            except DivergenceError:
                settings = self._trainer.settings
                raise diverged(number, None if settings.solver else settings.optimizer) from None
            return measure(network, others)

        return self._there(run)

    def _there(self, compute: Callable[[Records, Records], Found]) -> Found:
        def placed(binding: Binding) -> Found:
            if self._placed is None or self._placed[0].binding is not binding:
                place = self._trainer.runner.place_records
                train, left_out = (place(rows.x, rows.y, rows.weights) for rows in self._parts)
                self._placed = train, left_out
            return compute(*self._placed)

        work = partial(self._trainer.workload, epochs=self._epochs)
        return self._trainer.mlp.network.computing(self._parts[0].x, placed, work)
