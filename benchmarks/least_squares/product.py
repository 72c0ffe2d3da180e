"""The speed of JᵀJ: rows of the Jacobian made and multiplied, beside a product of float32 matrices."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

import gdkernels as gd
from gdkernels.backend.least_squares import NormalEquations

__all__ = ["ProductSpeed", "measured_products"]

_SHAPES = ((8, 30, 1), (2, 20, 20, 1), (8, 24, 24, 1), (16, 32, 24, 1))
_REPEATS = 7


@dataclass(frozen=True)
class ProductSpeed:
    """GFLOP/s for one network: JᵀJ alone, counted as N·P² FLOPs; with its rows made before; a product of matrices."""

    parameters: int
    records: int
    products: float
    with_rows: float
    matrices: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        share, whole = self.products / self.matrices, self.with_rows / self.matrices
        return (
            f"{self.parameters:,} parameters, {self.records:,} records: JᵀJ {self.products:.0f} GFLOP/s, {share:.2f} "
            f"of a float32 product's {self.matrices:.0f}; with its rows made before {self.with_rows:.0f}, {whole:.2f}"
        )


def measured_products(records: int = 8192) -> list[ProductSpeed]:
    """Return the speed for some networks, on one thread."""
    return [_measured(sizes, records) for sizes in _SHAPES]


def _measured(sizes: tuple[int, ...], records: int) -> ProductSpeed:
    draw = np.random.default_rng(0)
    trainer = gd.Trainer(gd.MLP(list(sizes), activation="tanh", seed=0, threads=1), solver="lm")
    network, objective = trainer.mlp.network, trainer.settings.objective
    program = network.structure.program(objective)
    X, Y = draw.normal(size=(records, sizes[0])), draw.normal(size=(records, sizes[-1]))
    binding = network.bind(X.astype("float32"))
    equations = NormalEquations(binding.backend, binding.device, program, objective.loss)
    vector = np.concatenate([np.asarray(network.parameters[name], np.float64).ravel() for name in program.trained])
    tiles = list(equations.tiles([(X, Y, None)], "float32"))
    count = len(vector)
    whole = _least(lambda: equations.at(vector, {}, tiles, "float32"))
    rows, product, total = equations.room("float32")
    J = rows[: len(tiles[0][0])]
    J[:] = draw.normal(size=J.shape)

    def products() -> None:
        np.add(total, np.matmul(J.T, J, out=product), out=total)

    alone = _least(products) * records / len(J)
    size = max(count, 512)
    a = draw.normal(size=(size, size)).astype(np.float32)
    flops = float(records) * count * count
    return ProductSpeed(
        count, records, flops / alone / 1e9, flops / whole / 1e9, 2.0 * size**3 / _least(lambda: a @ a) / 1e9
    )


def _least(work: Callable[[], Any]) -> float:
    work()
    seconds = []
    for _ in range(_REPEATS):
        began = time.process_time()
        work()
        seconds.append(time.process_time() - began)
    return min(seconds)
