"""scikit-learn's MLPRegressor, pass by pass with `partial_fit`."""

from __future__ import annotations

import warnings
from contextlib import suppress
from typing import Any

from gdkernels.bench.participants.adapter import Adapter, Order, check_chain, copied, imported
from gdkernels.bench.participants.participant import UnsuitableError
from gdkernels.bench.participants.stages import Arrays
from gdkernels.bench.participants.task import TrainingTask

__all__ = ["ScikitLearnAdapter"]

_MODULE = "sklearn.neural_network"


class ScikitLearnAdapter(Adapter):
    """scikit-learn. It makes its weights in the first call: until then, the parameters are those of the task."""

    def ready(self) -> None:
        with suppress(UnsuitableError):
            imported(_MODULE)

    def load(self, task: TrainingTask) -> None:
        check_chain(task, "scikit-learn")
        if task.activation == "gelu":
            raise UnsuitableError("scikit-learn has no gelu")
        self._model = imported(_MODULE).MLPRegressor(
            hidden_layer_sizes=task.sizes[1:-1],
            activation=task.activation,
            solver=task.optimizer,
            batch_size=task.batch,
            learning_rate_init=task.learning_rate,
            momentum=0,
            nesterovs_momentum=False,
            alpha=0,
            random_state=0,
        )
        self.task, (self._X, Y) = task, task.data()
        self._Y = Y[:, 0] if Y.shape[1] == 1 else Y
        self._begun = False

    def epoch(self) -> None:
        self._fit([slice(None)])

    def train_on(self, order: Order) -> None:
        # partial_fit shuffles what it is given: within one batch that does not matter.
        self._fit([order[start : start + self.task.batch] for start in range(0, len(order), self.task.batch)])

    def parameters(self) -> Arrays:
        if not self._begun:
            return self.task.parameters()
        return copied(zip(self._model.coefs_, self._model.intercepts_, strict=True))

    def _fit(self, parts: list[Any]) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if not self._begun:
                self._begin()
            for rows in parts:
                self._model.partial_fit(self._X[rows], self._Y[rows])

    def _begin(self) -> None:
        # The first call makes weights and optimizer. It runs on one batch; then the weights become those of the task,
        # and the optimizer, which has no public name, a new one.
        self._model.partial_fit(self._X[: self.task.batch], self._Y[: self.task.batch])
        for k, (W, b) in enumerate(self.task.layers()):
            self._model.coefs_[k][...], self._model.intercepts_[k][...] = W, b
        if self.task.optimizer == "adam":
            optimizer = vars(self._model)["_optimizer"]
            optimizer.t = 0
            for moment in (*optimizer.ms, *optimizer.vs):
                moment[...] = 0
        self._begun = True
