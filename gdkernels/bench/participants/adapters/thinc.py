"""thinc with its own layers and optimizers."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np

from gdkernels.bench.participants.adapter import Adapter, Order, check_chain, copied, imported
from gdkernels.bench.participants.participant import UnsuitableError
from gdkernels.bench.participants.stages import Arrays
from gdkernels.bench.participants.task import TrainingTask

__all__ = ["ThincAdapter"]


class ThincAdapter(Adapter):
    """thinc, with relu and plain descent."""

    def ready(self) -> None:
        with suppress(UnsuitableError):
            imported("thinc.api")

    def load(self, task: TrainingTask) -> None:
        check_chain(task, "thinc")
        api = imported("thinc.api")
        if task.activation != "relu" or task.optimizer != "sgd":
            raise UnsuitableError("thinc is compared only with relu and plain descent")
        parameters = task.layers()
        hidden = [api.Relu(nO=W.shape[1], nI=W.shape[0]) for W, _ in parameters[:-1]]
        self._layers = [*hidden, api.Linear(nO=task.sizes[-1], nI=task.sizes[-2])]
        self._model = api.chain(*self._layers) if hidden else self._layers[0]
        self._X, self._Y = task.data()
        self._model.initialize(X=self._X[:2], Y=self._Y[:2])
        for layer, (W, b) in zip(self._layers, parameters, strict=True):
            layer.set_param("W", W.T.copy())
            layer.set_param("b", b.copy())
        self._optimizer = api.SGD(task.learning_rate / task.batch, L2=0.0, grad_clip=0.0)
        self.task = task

    def epoch(self) -> None:
        self._train(self._X, self._Y, shuffle=True)

    def train_on(self, order: Order) -> None:
        self._train(self._X[order], self._Y[order], shuffle=False)

    def _train(self, x: Any, y: Any, *, shuffle: bool) -> None:
        for inputs, targets in self._model.ops.multibatch(self.task.batch, x, y, shuffle=shuffle):
            prediction, back = self._model.begin_update(inputs)
            back(prediction - targets)
            self._model.finish_update(self._optimizer)

    def parameters(self) -> Arrays:
        return copied((np.asarray(one.get_param("W")).T, np.asarray(one.get_param("b"))) for one in self._layers)
