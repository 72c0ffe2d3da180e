"""The network behind an estimator's `coefs_`: on its backend, with the trainer that `partial_fit` goes on with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gdkernels.definition.chain import by_layer, by_name
from gdkernels.dispatch.binding import namespace_of
from gdkernels.models.mlp import MLP
from gdkernels.training.optimizer_state import Carried
from gdkernels.training.trainer import Trainer

__all__ = ["FittedNetwork"]


class FittedNetwork:
    """A network whose parameters are what an estimator shows as its own.

    Parameters
    ----------
    mlp
        The network.
    like
        An array of the kind, and on the device, in which the estimator shows them.
    made_of
        What the network was made of: another wish needs another one.
    """

    def __init__(self, mlp: MLP, like: Any, made_of: Any) -> None:
        self.mlp, self.made_of = mlp, made_of
        self.network = mlp.network
        self.trainer: Trainer | None = None
        xp = namespace_of(like)
        self._like = np.empty((0, 0)) if xp is None else xp.asarray(like[:0, ...], copy=True)
        self._shown: list[Any] = []

    def show(self) -> tuple[list[Any], list[Any]]:
        """Return weights and biases: the network's own arrays where they can be, so that both change together."""
        binding, parameters = self.network.binding, by_layer(self.network.parameters)
        assert binding is not None
        layers = [[binding.give_back(a, self._like) for a in layer] for layer in parameters]
        self._shown = [a for layer in layers for a in layer]
        for shown, own in zip(self._shown, (a for layer in parameters for a in layer), strict=True):
            if isinstance(shown, np.ndarray) and shown is not own:
                shown.flags.writeable = False  # a copy of what is on a device: changing it would change nothing
        return [W for W, _ in layers], [b for _, b in layers]

    def follow(self, coefs: Sequence[Any], intercepts: Sequence[Any]) -> None:
        """Take over parameters that somebody else has put in the place of those shown."""
        given = [a for layer in zip(coefs, intercepts, strict=True) for a in layer]
        if len(given) == len(self._shown) and all(a is b for a, b in zip(given, self._shown, strict=True)):
            return
        if self.network.binding is None and all(isinstance(a, np.ndarray) for a in given):
            # Where to compute is chosen when the work is known.
            self.network.parameters = by_name(list(zip(coefs, intercepts, strict=True)))
            self._shown = given
            return
        with self.network.bound(self._like) as binding:
            self.network.parameters = by_name(
                [
                    (binding.place(W, "coefs_"), binding.place(b, "intercepts_"))
                    for W, b in zip(coefs, intercepts, strict=True)
                ]
            )
        self._shown = given

    def carried(self) -> Carried | None:
        """Return what the optimizer carries from step to step, on the host."""
        return None if self.trainer is None else self.trainer.runner.optimizer_state.carried()

    def begin(self, trainer: Trainer, carried: Carried | None) -> None:
        """Train with `trainer` from now on, and with what another one carried if its optimizer has as many slots."""
        self.trainer = trainer
        if carried is not None:
            trainer.runner.optimizer_state.take_over(carried, self.network.bind(self._like))
