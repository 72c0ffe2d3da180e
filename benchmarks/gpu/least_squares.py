"""Levenberg–Marquardt on a device: JᵀJ is right there, how fast it is, and where the time of an iteration goes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

import gdkernels as gd
from benchmarks.gpu.first import environment
from gdkernels.backend import Backend, Plan
from gdkernels.backend.least_squares import NormalEquations
from gdkernels.backend.program import Program
from gdkernels.definition import losses
from gdkernels.dispatch import registry
from gdkernels.system.lapack import PositiveSystem
from gdkernels.testing.cases import Normed

__all__ = ["NETWORKS", "SIZES", "agree", "speed"]

blocks = gd.blocks
NETWORKS = {
    "8-24-24-1": blocks.Sequential(blocks.Dense(24, "tanh"), blocks.Dense(24, "tanh"), blocks.Dense(1)),
    "residual": blocks.Sequential(
        blocks.Dense(16, "tanh"), blocks.Residual(blocks.LayerNorm(), blocks.Dense(16, "silu")), blocks.Dense(3)
    ),
    "computed weights": blocks.Sequential(blocks.Dense(16, "tanh"), Normed(8), blocks.Dense(3)),
    "embedding": blocks.Sequential(blocks.Columns({0: blocks.Embedding(3, 2)}, rest="passthrough"), blocks.Dense(2)),
}
SIZES = {"301": (8, 30, 1), "501": (2, 20, 20, 1), "841": (8, 24, 24, 1), "1,361": (8, 32, 32, 1)}
_ALLOWED = {"float32": 2e-5, "float64": 1e-11}
_RECORDS = 70_000  # more than are added up at a time
_REPEATS = 5


def agree(name: str, precision: str, *, records: int = _RECORDS, backend: Backend | None = None) -> dict[str, float]:
    """Return by how much the error, its gradient and JᵀJ differ from NumPy's definition in float64.

    Raises
    ------
    AssertionError
        If one does so by more than rounding explains, or the device computes other bits a second time.
    """
    program, draw = Program(NETWORKS[name], 8), np.random.default_rng(0)
    arrays = [told.drawn(draw) + 0.1 for told in program.parameters.values()]
    vector = np.concatenate([a.ravel() for a in arrays])
    x, y = draw.normal(size=(records, 8)), draw.normal(size=(records, program.outputs))
    x[:, 0] = draw.integers(0, 3, records)
    numpy = registry.get("numpy")
    definition = NormalEquations(numpy, "cpu", program, losses.sse)
    expected = definition.at(vector, {}, definition.tiles([(x, y, None)], "float64"), "float64")
    equations, tiles = _on_device(program, x, y, precision, backend)
    found = equations.at(vector, {}, tiles, precision)
    bits = found.gradient.tobytes(), np.tril(found.hessian).tobytes()
    pairs = {
        "error": (np.array(found.error), np.array(expected.error)),
        "gradient": (found.gradient, expected.gradient),
        "JᵀJ": (np.tril(found.hessian), np.tril(expected.hessian)),
    }
    off = {what: float(np.abs(a - b).max() / np.abs(b).max()) for what, (a, b) in pairs.items()}
    assert max(off.values()) <= _ALLOWED[precision], off
    again = equations.at(vector, {}, tiles, precision)
    assert (again.gradient.tobytes(), np.tril(again.hessian).tobytes()) == bits, "other bits a second time"
    return off


def speed(parameters: str, *, records: int = 1 << 18, backend: Backend | None = None) -> dict[str, float]:
    """Return the FLOP/s of JᵀJ, counted as N P², compiled and as the definition, and the seconds of its parts.

    The system is solved on the host: what that takes stands beside what brings JᵀJ there.
    """
    sizes, draw = SIZES[parameters], np.random.default_rng(0)
    layers = [blocks.Dense(n, "tanh") for n in sizes[1:-1]]
    program = Program(blocks.Sequential(*layers, blocks.Dense(sizes[-1])), sizes[0])
    vector = np.concatenate([told.drawn(draw).ravel() for told in program.parameters.values()])
    x, y = draw.normal(size=(records, sizes[0])), draw.normal(size=(records, sizes[-1]))
    found, count = {}, len(vector)
    system = PositiveSystem(count)
    for how, compiled in (("compiled", True), ("definition", False)):
        equations, tiles = _on_device(program, x, y, "float32", backend, compiled=compiled)
        seconds = _least(lambda e=equations, t=tiles: e.at(vector, {}, t, "float32"))  # type: ignore[misc]
        found[f"JᵀJ, {how}: flops a second"] = records * count**2 / seconds
        found[f"JᵀJ, {how}: seconds"] = seconds
        found[f"an error, {how}: seconds"] = _least(
            lambda e=equations, t=tiles: e.error(vector, {}, t, "float32")  # type: ignore[misc]
        )
    few, tile = _on_device(program, x[:64], y[:64], "float32", backend)
    found["JᵀJ of 64 records, mostly its way to the host: seconds"] = _least(
        lambda: few.at(vector, {}, tile, "float32")
    )
    normal = few.at(vector, {}, tile, "float32")
    diagonal = np.diagonal(normal.hessian).astype(np.float64) + 1.0
    found["a system on the host: seconds"] = _least(
        lambda: system.factorise(normal.hessian, 1.0, diagonal) and system.solve(normal.gradient)
    )
    return found


def _on_device(
    program: Program, x: Any, y: Any, precision: str, backend: Backend | None, *, compiled: bool = True
) -> tuple[NormalEquations, list[Any]]:
    from gdkernels_cupy import CuPyBackend

    backend, device = backend or CuPyBackend(), "cuda:0"
    products = None
    if compiled:
        with environment(GDKERNELS_CHECK="never"):  # what is wrong shall show here
            products = backend.compile_products(program, Plan("cupy", device, precision, {}))
        assert products is not None, "it was not compiled"
    equations = NormalEquations(backend, device, program, losses.sse, products)
    x, y = (backend.asarray(a, dtype=precision, device=device) for a in (x, y))
    return equations, list(equations.tiles([(x, y, None)], precision))


def _least(work: Callable[[], Any]) -> float:
    """Return the least seconds of some runs; each ends on the host."""
    seconds = []
    for _ in range(1 + _REPEATS):  # the first one makes what is kept
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return min(seconds[1:])
