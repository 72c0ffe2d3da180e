"""The network behind an estimator's arrays: on its backend, with the trainer that `partial_fit` goes on with."""

from __future__ import annotations

from typing import Any

import numpy as np

from gdkernels.definition.network import Arrays
from gdkernels.dispatch.binding import namespace_of
from gdkernels.models.network import Network
from gdkernels.training.epoch_runner import EpochRunner
from gdkernels.training.optimizer_state import Carried
from gdkernels.training.trainer import Trainer

__all__ = ["FittedNetwork"]


class FittedNetwork:
    """A network whose parameters are what an estimator shows as its own.

    Parameters
    ----------
    model
        The network.
    like
        An array of the kind, and on the device, in which the estimator shows them.
    made_of
        What the network was made of: another wish needs another one.
    """

    def __init__(self, model: Network, like: Any, made_of: Any) -> None:
        self.model, self.made_of = model, made_of
        self.network = model.network
        self.trainer: Trainer | None = None
        xp = namespace_of(like)
        self._like = np.empty((0, 0)) if xp is None else xp.asarray(like[:0, ...], copy=True)
        self._shown: dict[str, Any] = {}

    def show(self) -> dict[str, Any]:
        """Return the parameters by name: the network's own arrays where they can be, so that both change together."""
        binding = self.network.binding
        assert binding is not None
        self._shown = {name: binding.give_back(a, self._like) for name, a in self.network.parameters.items()}
        for name, shown in self._shown.items():
            if isinstance(shown, np.ndarray) and shown is not self.network.parameters[name]:
                shown.flags.writeable = False  # a copy of what is on a device: changing it would change nothing
        return dict(self._shown)

    def follow(self, given: Arrays) -> None:
        """Take over parameters that somebody else has put in the place of those shown."""
        if given.keys() == self._shown.keys() and all(a is self._shown[name] for name, a in given.items()):
            return
        if self.network.binding is None and all(isinstance(a, np.ndarray) for a in given.values()):
            # Where to compute is chosen when the work is known.
            self.network.parameters = dict(given)
        else:
            with self.network.bound(self._like) as binding:
                self.network.parameters = {name: binding.place(a, name) for name, a in given.items()}
        self._shown = dict(given)

    def carried(self) -> Carried | None:
        """Return what the optimizer carries from step to step, on the host."""
        runner = None if self.trainer is None else self.trainer.runner
        return runner.optimizer_state.carried() if isinstance(runner, EpochRunner) else None

    def begin(self, trainer: Trainer, carried: Carried | None) -> None:
        """Train with `trainer` from now on, and with what another one carried if its optimizer has as many slots."""
        self.trainer = trainer
        if carried is not None and isinstance(trainer.runner, EpochRunner):
            trainer.runner.optimizer_state.take_over(carried, self.network.bind(self._like))
