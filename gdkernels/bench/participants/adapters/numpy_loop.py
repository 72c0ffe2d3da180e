"""A training loop in NumPy, as you would write it by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gdkernels.bench.participants.adapter import Adapter, Order, check_chain, copied
from gdkernels.bench.participants.participant import UnsuitableError
from gdkernels.bench.participants.stages import Arrays
from gdkernels.bench.participants.task import TrainingTask

__all__ = ["NumPyLoopAdapter"]


class NumPyLoopAdapter(Adapter):
    """Plain descent with relu or tanh, in float32."""

    def ready(self) -> None:
        """Do nothing: NumPy is imported."""

    def load(self, task: TrainingTask) -> None:
        check_chain(task, "the hand-written loop")
        if task.optimizer != "sgd" or task.activation not in ("relu", "tanh"):
            raise UnsuitableError("the hand-written loop is compared only with relu or tanh and plain descent")
        self.task, self._layers = task, [(np.array(W), np.array(b)) for W, b in task.layers()]
        self._data, self._rng = task.data(), np.random.default_rng(0)

    def epoch(self) -> None:
        self.train_on(self._rng.permutation(len(self._data[0])))

    def train_on(self, order: Order) -> None:
        X, Y = self._data
        rate = np.float32(self.task.learning_rate / self.task.batch)
        relu, last = self.task.activation == "relu", len(self._layers) - 1
        for start in range(0, len(order), self.task.batch):
            rows = order[start : start + self.task.batch]
            outputs = [X[rows]]
            for k, (W, b) in enumerate(self._layers):
                z = outputs[-1] @ W + b
                outputs.append(z if k == last else np.maximum(z, 0) if relu else np.tanh(z))
            delta = outputs[-1] - Y[rows]
            for k in reversed(range(len(self._layers))):
                W, b = self._layers[k]
                slope_W, slope_b = outputs[k].T @ delta, delta.sum(axis=0)
                if k:
                    a = outputs[k]
                    delta = (delta @ W.T) * ((a > 0) if relu else (1 - a * a))
                W -= rate * slope_W
                b -= rate * slope_b

    def product(self, size: int) -> Callable[[], Any] | None:
        a = np.ones((size, size), dtype=np.float32)
        return lambda: a @ a

    def parameters(self) -> Arrays:
        return copied(self._layers)
