"""The speed of JᵀJ: rows of the Jacobian made and multiplied, beside a product of float32 matrices."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

import gdkernels as gd
from gdkernels.backend import Plan
from gdkernels.backend.least_squares import NormalEquations

__all__ = ["ProductSpeed", "measured_products"]

_SHAPES = ((8, 30, 1), (2, 20, 20, 1), (8, 24, 24, 1), (16, 32, 24, 1))
_REPEATS = 7


@dataclass(frozen=True)
class ProductSpeed:
    """GFLOP/s for one network, counted as N·P² FLOPs.

    Attributes
    ----------
    compiled, definition
        Of JᵀJ in float32 with its rows made before, on Numba and on NumPy.
    syrk, matrices
        Of BLAS's symmetric product of rows that are there; and of a product of square float32 matrices.
    """

    parameters: int
    records: int
    compiled: float
    definition: float
    syrk: float
    matrices: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        share = self.compiled / self.matrices
        return (
            f"{self.parameters:,} parameters, {self.records:,} records: JᵀJ with its rows {self.compiled:.0f} GFLOP/s, "
            f"{share:.2f} of a float32 product's {self.matrices:.0f}; as a definition {self.definition:.0f}; "
            f"BLAS's syrk alone {self.syrk:.0f}"
        )


def measured_products(records: int = 8192) -> list[ProductSpeed]:
    """Return the speed for some networks, on one thread."""
    return [_measured(sizes, records) for sizes in _SHAPES]


def _measured(sizes: tuple[int, ...], records: int) -> ProductSpeed:
    draw = np.random.default_rng(0)
    trainer = gd.Trainer(gd.MLP(list(sizes), activation="tanh", seed=0, threads=1, backend="numba"), solver="lm")
    network, objective = trainer.mlp.network, trainer.settings.objective
    program = network.structure.program(objective)
    X, Y = draw.normal(size=(records, sizes[0])), draw.normal(size=(records, sizes[-1]))
    binding = network.bind(X.astype("float32"))
    plan = Plan(binding.backend.name, binding.device, "float32", {"threads": 1})
    vector = np.concatenate([np.asarray(network.parameters[name], np.float64).ravel() for name in program.trained])

    def derivatives(compiled: bool) -> Callable[[], Any]:
        products = binding.backend.compile_products(program, plan) if compiled else None
        equations = NormalEquations(binding.backend, binding.device, program, objective.loss, products)
        tiles = list(equations.tiles([(X, Y, None)], "float32"))
        return lambda: equations.at(vector, {}, tiles, "float32")

    count = len(vector)
    rows = draw.normal(size=(2048, count)).astype(np.float32)
    size = max(count, 512)
    a = draw.normal(size=(size, size)).astype(np.float32)
    # One after the other in each round, so that the processor's clock is the same for all.
    seconds = _least([derivatives(True), derivatives(False), lambda: rows.T @ rows, lambda: a @ a])
    flops = float(count) ** 2
    amounts = (records * flops, records * flops, len(rows) * flops, 2.0 * size**3)
    return ProductSpeed(count, records, *(n / s / 1e9 for n, s in zip(amounts, seconds, strict=True)))


def _least(work: list[Callable[[], Any]]) -> list[float]:
    least = [float("inf")] * len(work)
    for _ in range(1 + _REPEATS):
        for k, do in enumerate(work):
            began = time.process_time()
            do()
            least[k] = min(least[k], time.process_time() - began)
    return least
