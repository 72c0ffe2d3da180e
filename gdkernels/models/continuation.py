"""Continuation: a fit goes on with the trainer of the last one, as long as its settings stay the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gdkernels.errors import InputError, shown
from gdkernels.groups import joined
from gdkernels.groups.agreement import agree, guarded
from gdkernels.models.restarts import best_of_starts
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

    def trainer_with(self, settings: Mapping[str, Any]) -> Trainer:
        """Return the last trainer if it has these settings, or else a new one."""
        last, others = self.trainer, dict(settings)
        if last is None:
            return Trainer(self.model, **settings)
        order, group, shards = (others.pop(name, None) for name in ("order", "group", "shards"))
        wanted = Settings.checked(**others, outputs=self.model.network.outputs)
        if last.runner.order is order and last.settings == wanted:
            last.share(group, shards)
            return last
        return Trainer(self.model, **settings)

    def go_on_with(self, settings: Mapping[str, Any]) -> Trainer:
        """Return the trainer with these settings, which the next fit goes on with."""
        self.trainer = self.trainer_with(settings)
        return self.trainer

    def fit(self, X: Any, Y: Any, settings: dict[str, Any], run: dict[str, Any], starts: int) -> History:
        """Train from the present parameters, and from so many other initial weights that there are `starts`."""
        if isinstance(starts, bool) or not isinstance(starts, (int, np.integer)) or starts < 1:
            raise InputError(f"starts must be a whole number of at least 1, got {shown(starts)}")
        group = joined(settings.get("group"))
        with guarded(group):
            agree(group, {"call": "fit", "starts": int(starts)})
        if starts > 1:
            Keeping.checked(*(run[name] for name in ("checkpoint", "every", "keep", "resume")))
            trainer, history = best_of_starts(self.model, X, Y, settings, run, int(starts))
        else:
            trainer = self.trainer_with(settings)
            history = trainer.fit(X, Y, **run)
        self.trainer = trainer
        return history
