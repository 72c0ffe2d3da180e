"""The rows of the grid: four square layers, plain gradient descent on SSE, relu, data on the device."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels import randomness
from gdkernels.backend.program import Program
from gdkernels.definition import activations, losses
from gdkernels.definition.initialisation import initial_parameters
from gdkernels.definition.network import Layer, map_layers
from gdkernels.definition.objective import Objective
from gdkernels.definition.optimizers import SGD

__all__ = ["GRID", "RATE", "Row"]

RATE = 1e-3

_BATCHES = 4  # in an epoch: data that no cache of the device holds


@dataclass(frozen=True)
class Row:
    """What is trained; `precision` is that of the products."""

    width: int
    batch: int
    precision: str
    layers: int = 4

    def __str__(self) -> str:
        return f"{self.width} wide, batches of {self.batch}, {self.precision}"

    @property
    def widths(self) -> tuple[int, ...]:
        return (self.width,) * (self.layers + 1)

    @property
    def records(self) -> int:
        return _BATCHES * self.batch

    @property
    def flops(self) -> int:
        """FLOPs of the products of a step: forward, gradient, and the way back above the inputs."""
        products = [m * n for m, n in pairwise(self.widths)]
        return (6 * sum(products) - 2 * products[0]) * self.batch

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def program(self) -> Program:
        functions = (*(activations.relu,) * (self.layers - 1), activations.identity)
        return Program(functions, objective=Objective(losses.sse), optimizer=SGD(RATE))

    def parameters(self) -> tuple[Layer, ...]:
        """Return initial weights and biases in float32, the same bits in every process."""
        program = self.program()
        drawn = initial_parameters(self.widths, program.activations, True, randomness.generator(0, "gpu weights"))
        return map_layers(lambda a: a.astype(np.float32), drawn)

    def data(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        rng = randomness.generator(0, "gpu data")
        shape = (self.records, self.width)
        return rng.standard_normal(shape, dtype=np.float32), rng.standard_normal(shape, dtype=np.float32)


_ALL = ("float32", "tf32", "bfloat16")

GRID = (
    Row(64, 1 << 10, "bfloat16"),
    Row(64, 1 << 14, "bfloat16"),
    Row(64, 1 << 18, "bfloat16"),
    Row(128, 1 << 18, "bfloat16"),
    *(Row(256, 1 << 14, p) for p in _ALL),
    *(Row(1024, 1 << 14, p) for p in _ALL),
    *(Row(4096, 1 << 14, p) for p in _ALL),
)
