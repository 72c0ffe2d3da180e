"""Small problems on which gradient descent can be watched: those of ``gdkernels plot``.

Each is a network of a few parameters, its data, and a descent with the whole data in every step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.definition.optimizers import Optimizer
from gdkernels.errors import DivergenceError
from gdkernels.models.mlp import MLP
from gdkernels.plots.landscape import Landscape, Path

__all__ = ["Descent", "curve", "line", "one_weight", "wave"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Descent:
    """A network before training, its data, and the loss."""

    mlp: MLP
    X: Floats
    Y: Floats
    loss: str = "mse"

    def go(self, optimizer: Optimizer, steps: int) -> tuple[Landscape, Path]:
        """Do so many steps, and return the landscape and the path through it.

        Raises
        ------
        DivergenceError
            If the error stops being finite.
        """
        path = Path(self.mlp)
        history = self.mlp.fit(
            self.X, self.Y, epochs=steps, batch_size=len(self.X), optimizer=optimizer, loss=self.loss, callbacks=[path]
        )
        if history.diverged:
            raise DivergenceError(
                f"the error stopped being finite in step {len(path)}; lower the learning rate (it was "
                f"{optimizer.learning_rate:g})"
            )
        return Landscape(self.mlp, self.X, self.Y), path


def one_weight(start: float) -> Descent:
    """Return ŷ = w·x on the one record x = 3, y = 10: E = (3w − 10)², whose slope at w = 2 is −24."""
    return Descent(_network([1, 1], [[[start]]], bias=False), np.array([[3.0]]), np.array([[10.0]]))


def line(start: tuple[float, float], seed: int) -> Descent:
    """Return ŷ = w·x + b on 40 noisy records of y = 1.5x − 0.5; `start` is (w, b)."""
    draw = np.random.default_rng(seed)
    x = draw.uniform(-1.0, 2.0, size=(40, 1))
    return Descent(_network([1, 1], [[[start[0]]], [start[1]]]), x, 1.5 * x - 0.5 + 0.3 * draw.standard_normal((40, 1)))


def sine(z: Any, *, xp: Any) -> Any:
    """Return sin z: a network of one such unit has a minimum for every frequency that nearly fits."""
    return xp.sin(z)


def wave(start: float, seed: int) -> Descent:
    """Return ŷ = sin(w·x) on 60 noisy records of y = sin(2.5x): an error with several minima."""
    draw = np.random.default_rng(seed)
    x = draw.uniform(-3.0, 3.0, size=(60, 1))
    y = np.sin(2.5 * x) + 0.1 * draw.standard_normal((60, 1))
    return Descent(_network([1, 1], [[[start]]], bias=False, output=sine), x, y)


def curve(hidden: Sequence[int], seed: int) -> Descent:
    """Return a network of `hidden` tanh units on 60 noisy records of a curve; without any, it fits a line."""
    draw = np.random.default_rng(seed)
    x = np.sort(draw.uniform(-3.0, 3.0, size=(60, 1)), axis=0)
    y = np.sin(1.5 * x) + 0.3 * x + 0.15 * draw.standard_normal((60, 1))
    mlp = MLP([1, *hidden, 1], activation="tanh", seed=seed, backend="numpy", precision="float64")
    return Descent(mlp, x, y)


def _network(sizes: Sequence[int], layer: list[Any], **settings: Any) -> MLP:
    mlp = MLP(sizes, seed=0, backend="numpy", precision="float64", **settings)
    mlp.set_parameters([layer])
    return mlp
