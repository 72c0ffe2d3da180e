"""Continuation: a fit goes on with the trainer of the last one, as long as its settings stay the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gdkernels.errors import InputError, shown
from gdkernels.groups import joined
from gdkernels.groups.agreement import agree, guarded
from gdkernels.models.restarts import best_of_starts
from gdkernels.system.given import items_of
from gdkernels.training.checkpointing import Keeping
from gdkernels.training.history import History
from gdkernels.training.settings import Settings
from gdkernels.training.trainer import Trainable, Trainer

__all__ = ["Continuation"]


class Continuation:
    """The fits of one model, one after the other.

    Attributes
    ----------
    trainer
        The one that the next fit goes on with; None before the first.
    """

    def __init__(self, model: Trainable) -> None:
        self.model = model
        self.trainer: Trainer | None = None
        self._given: Mapping[str, Any] = {}  # which that one was asked for with

    def trainer_with(self, settings: Mapping[str, Any]) -> Trainer:
        """Return the last trainer if it has these settings, or else a new one."""
        last, others = self.trainer, dict(settings)
        if last is None:
            return Trainer(self.model, **settings)
        order, group, shards = (others.pop(name, None) for name in ("order", "group", "shards"))
        if last.runner.order is order and (self._asks_the_same(others) or last.settings == self._checked(others)):
            last.share(group, shards)
            return last
        return Trainer(self.model, **settings)

    def _asks_the_same(self, others: Mapping[str, Any]) -> bool:
        """Return whether these are the very objects that were given last time, and were checked then."""
        return self._given.keys() >= others.keys() and all(self._given[name] is given for name, given in others.items())

    def _checked(self, others: Mapping[str, Any]) -> Settings:
        return Settings.checked(**others, outputs=self.model.network.outputs)

    def go_on_with(self, settings: Mapping[str, Any]) -> Trainer:
        """Return the trainer with these settings, which the next fit goes on with."""
        self.trainer, self._given = self.trainer_with(settings), settings
        return self.trainer

    def fit(self, X: Any, Y: Any, settings: dict[str, Any], run: dict[str, Any], starts: int) -> History:
        """Train from the present parameters, and from so many other initial weights that there are `starts`."""
        if isinstance(starts, bool) or not isinstance(starts, (int, np.integer)) or starts < 1:
            raise InputError(f"starts must be a whole number of at least 1, got {shown(starts)}")
        if settings.get("group") is not None:
            group = joined(settings["group"])
            with guarded(group):
                agree(group, {"call": "fit", "starts": int(starts)})
        if starts > 1:
            Keeping.checked(*(run[name] for name in ("checkpoint", "every", "keep", "resume")))
            run |= {name: _read_once(run[name]) for name in ("callbacks", "metrics")}
            trainer, history = best_of_starts(self.model, X, Y, settings, run, int(starts))
        else:
            trainer = self.trainer_with(settings)
            history = trainer.fit(X, Y, **run)
        self.trainer, self._given = trainer, settings
        return history


def _read_once(values: Any) -> Any:
    """Return what is read again for each start; what is no list is for whoever reads it to refuse."""
    found = items_of(values)
    return values if found is None else found
