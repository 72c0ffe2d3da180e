"""The task: which models are trained on what."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["SHAPES", "Array", "ManyTraining", "Task"]

Array = npt.NDArray[Any]

RECORDS = 2048
SHAPES = {
    "8-32-32-1, batch 32": ((8, 32, 32, 1), 32),
    "27-64-64-3, batch 64": ((27, 64, 64, 3), 64),
    "64-256-10, batch 128": ((64, 256, 10), 128),
}


@dataclass(frozen=True)
class Task:
    """Models to train: their sizes and batch, and the epochs of each; all of them, or only one.

    Their orders are given, the same for all participants, unless they are to be drawn by each model's seed.
    """

    sizes: tuple[tuple[int, ...], ...]
    batch: int
    epochs: int
    only: int | None = None
    drawn: bool = False

    @property
    def models(self) -> int:
        return len(self.sizes)

    @property
    def samples(self) -> int:
        return self.models * self.epochs * RECORDS

    @property
    def flops(self) -> int:
        """FLOPs of the products of a sample in the first model: forward, back but for the inputs, and the gradient."""
        products = [m * n for m, n in itertools.pairwise(self.sizes[0])]
        return 6 * sum(products) - 2 * products[0]

    def data(self) -> tuple[Array, Array]:
        """Return the records."""
        random, (inputs, *_, outputs) = np.random.default_rng(7), self.sizes[0]
        x = random.standard_normal((RECORDS, inputs)).astype(np.float32)
        return x, np.tanh(x @ random.standard_normal((inputs, outputs)) / inputs**0.5).astype(np.float32)

    def weights(self, k: int) -> list[tuple[Array, Array]]:
        """Return the initial weights and biases of a model."""
        random, sizes = np.random.default_rng([k, 1]), self.sizes[k]
        pairs = itertools.pairwise(sizes)
        drawn = [(random.standard_normal((m, n)) * (2 / m) ** 0.5, np.zeros(n)) for m, n in pairs]
        return [(W.astype(np.float32), b.astype(np.float32)) for W, b in drawn]

    def named_weights(self, k: int) -> dict[str, Array]:
        """Return the initial parameters of a model as `MLP` names them."""
        return {f"{n}{j}": a for j, pair in enumerate(self.weights(k)) for n, a in zip("Wb", pair, strict=True)}

    def rates(self) -> Array:
        return 0.02 * np.exp(np.random.default_rng(3).uniform(-1, 1, self.models))

    def orders(self, k: int) -> Array:
        """Return the rows of each epoch of a model."""
        return np.stack([np.random.default_rng([k, e]).permutation(RECORDS) for e in range(self.epochs)])


@dataclass(frozen=True)
class ManyTraining:
    """How a participant does a task: what trains all models once more, and what returns their parameters by name."""

    run: Callable[[], Any]
    parameters: Callable[[], Sequence[dict[str, Any]]]
