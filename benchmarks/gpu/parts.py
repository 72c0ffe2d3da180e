"""The parts of the study: each takes at most eight minutes, item by item.

The seconds of an item are estimates, for nothing has run on a GPU yet: a first run of all that it compiles, weights and
data drawn anew in the process of every participant, torch.compile's own measurements.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmarks.gpu import conformance, costs, first, float32, interleaving, least_squares, many_models
from benchmarks.gpu.cases import GRID, GPUCase
from benchmarks.many.task import SHAPES
from gdkernels.backend import PRECISIONS

__all__ = ["FIRST", "PARTS", "SHORT", "GPUItem"]


@dataclass(frozen=True)
class GPUItem:
    """Some work, and the seconds that it should take at most."""

    measure: Callable[[], Any]
    seconds: float


Items = dict[str, GPUItem]

_PARTICIPANTS = ("gdkernels", "torch eager", "torch.compile", "torch.compile, whole step", "jax jit + scan")
_CASES = ("relu-sse", "adam", "norm of a clipped gradient", "softmax-cross_entropy", "wide")
_COMPUTED = "computed weights, everything"  # of parameters, by a block


def _conformance(numbers: range) -> Items:
    count = conformance.SUITE_PARTS
    return {f"tests {k + 1} of {count}": GPUItem(partial(conformance.suite_part, k), 115) for k in numbers}


def _first() -> Items:
    """Return what tells most first: CUDA graphs serve every network, the persistent kernel the narrow ones."""
    same_bits = partial(first.repeats, "relu-sse", "bfloat16")
    items = {"epilogues that are believed": GPUItem(first.epilogues_believed, 20)}
    for name in _CASES:
        items |= _steps(name)
    items["the persistent kernel"] = GPUItem(first.persistent_kernel, 20)
    for name in float32.NETWORKS:
        items[f"the persistent kernel in float32: {name}"] = GPUItem(partial(float32.agrees, name), 10)
    for name in float32.BEYOND:
        items[f"the persistent kernel in float32, {name}"] = GPUItem(partial(float32.beyond, name), 3)
    items["1000 runs of the persistent kernel with other bits"] = GPUItem(same_bits, 20)
    items["1000 runs of the persistent kernel in float32"] = GPUItem(float32.same_bits, 20)
    for name in _CASES:
        items |= _repeats(name)
    return items


def _steps(name: str) -> Items:
    return {
        f"a step of {name} in {precision}": GPUItem(partial(first.step_against_interpreter, name, precision), 5)
        for precision in PRECISIONS
    }


def _repeats(name: str) -> Items:
    return {f"1000 runs of {name} with other bits": GPUItem(partial(first.repeats, name, "float32"), 20)}


def _computed_weights() -> Items:
    """Return the checks of weights that a block computes of parameters: they are not needed to decide on float32."""
    return _steps(_COMPUTED) | _repeats(_COMPUTED)


def _marked() -> Items:
    rooms = {"persistent": 150, "cupy": 60, "groups": 60}
    return {f"tests/{room}": GPUItem(partial(conformance.marked_tests, room), s) for room, s in rooms.items()}


def _sanitized() -> Items:
    cases = [(name, "float32", "graphs") for name in (*_CASES, _COMPUTED) if name != "adam"]  # the last has AdamW
    cases += [("relu-sse", "bfloat16", "graphs"), ("relu-sse", "tf32", "narrow"), ("relu-sse", "bfloat16", "narrow")]
    return {
        f"{tool} on {name} in {precision} by {kernel}": GPUItem(
            partial(first.sanitized, tool, name, precision, kernel), 20
        )
        for tool in first.TOOLS
        for name, precision, kernel in cases
    }


def _costs() -> Items:
    items = {"a copy": GPUItem(costs.copy_bandwidth, 10), "nodes of a graph": GPUItem(costs.graph_nodes, 20)}
    # Nearly all of such a step is the meeting of the blocks.
    tiny = GPUCase(16, 16, "bfloat16")
    items[f"a step of the persistent kernel, {tiny}"] = GPUItem(partial(interleaving.compare, tiny, ("gdkernels",)), 40)
    items |= {f"a product in {p}": GPUItem(partial(costs.product_rate, p), 15) for p in PRECISIONS}
    cases = [GPUCase(width, 1 << 14, p) for width in (256, 1024) for p in ("float32", "tf32", "bfloat16")]
    return items | {f"epilogues, {case}": GPUItem(partial(costs.epilogues, case), 50) for case in cases}


def _grid(cases: tuple[GPUCase, ...], seconds: float) -> Items:
    return {
        str(case): GPUItem(partial(interleaving.compare, case, (*_PARTICIPANTS, *_own(case))), seconds)
        for case in cases
    }


def _many() -> Items:
    """Return the checks and the rows of many models; float32 is there once the first minutes have proven it."""
    items = {
        f"a CTA for each, in {precision}": GPUItem(partial(many_models.agree, precision), 25)
        for precision in ("float32", "tf32", "bfloat16")
    }
    rows = [(name, precision, 64) for name in SHAPES for precision in ("float32", "tf32", "bfloat16")]
    rows += [("8-32-32-1, batch 32", "tf32", models) for models in (1, 16, 256, 1024)]
    for name, precision, models in rows:
        row = partial(many_models.speed, name, precision, models=models)
        items[f"{models} models of {name}, {precision}"] = GPUItem(row, 24)
    for tool in first.TOOLS:
        step = partial(first.sanitized, tool, "relu-sse", "bfloat16", "many")
        items[f"{tool} on relu-sse in bfloat16 by a CTA for each model"] = GPUItem(step, 20)
    return items


def _batches() -> Items:
    """Return the checks and the rows of models that no CTA has room for; a narrow shape shows what they cost there."""
    precisions = ("float32", "tf32", "bfloat16")
    items = {f"batches, in {p}": GPUItem(partial(many_models.batches_agree, p), 40) for p in precisions}
    rows = [(name, precision, 64) for name in many_models.LARGE for precision in precisions]
    rows += [("64-256-10, batch 128", "tf32", models) for models in (1, 4, 16, 256)]
    for name, precision, models in rows:
        row = partial(many_models.speed, name, precision, models=models)
        items[f"{models} models of {name}, {precision}"] = GPUItem(row, 24)
    for tool in first.TOOLS:
        step = partial(first.sanitized, tool, "relu-sse", "float32", "batches")
        items[f"{tool} on relu-sse in float32 by a batch of models"] = GPUItem(step, 20)
    return items


def _least_squares() -> Items:
    """Return what J and JᵀJ come to on the device, and how fast; a fit by them ends on the host."""
    items = {
        f"JᵀJ of {name} in {precision}": GPUItem(partial(least_squares.agree, name, precision), 15)
        for name in least_squares.NETWORKS
        for precision in ("float32", "float64")
    }
    return items | {
        f"JᵀJ of {count} parameters": GPUItem(partial(least_squares.speed, count), 25) for count in least_squares.SIZES
    }


def _own(case: GPUCase) -> tuple[str, ...]:
    """Return our own slower ways, which show the gain of the persistent kernel and of compiling."""
    return ("gdkernels, CUDA graphs",) if case.width <= 64 else ("gdkernels, definition on CuPy",)


FIRST = "first minutes"  # after which float32 takes the persistent kernel on such a device

PARTS: dict[str, Items] = {
    FIRST: _first(),
    "compute-sanitizer": _sanitized(),
    "conformance, first half": _conformance(range(conformance.SUITE_PARTS // 2)),
    "conformance, second half": _conformance(range(conformance.SUITE_PARTS // 2, conformance.SUITE_PARTS)),
    "costs": _costs(),
    "grid, 64 and 128 wide": _grid(GRID[:4], 110),
    "grid, 64 wide in float32": _grid(GRID[4:7], 110),
    "grid, 256 wide": _grid(GRID[7:10], 110),
    "grid, 1024 wide": _grid(GRID[10:13], 120),
    "grid, 4096 wide": _grid(GRID[13:], 155),
    "many models": _many(),
    "many models as batches": _batches(),
    "least squares": _least_squares(),
    "computed weights": _computed_weights(),
    "tests marked gpu": _marked(),
}

# What tells most in a quarter of an hour on a device that is lent, in this order: whether each engine is right, then
# what it gains.
_FEW: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("computed weights", tuple(PARTS["computed weights"])),
    ("many models", ("a CTA for each, in tf32",)),
    ("many models as batches", ("batches, in float32",)),
    ("least squares", ("JᵀJ of residual in float32", "JᵀJ of embedding in float64")),
    ("grid, 64 wide in float32", (str(GRID[5]),)),
    ("grid, 64 and 128 wide", (str(GRID[1]),)),
    ("grid, 1024 wide", (str(GRID[11]),)),
    ("tests marked gpu", tuple(PARTS["tests marked gpu"])),
    ("grid, 256 wide", (str(GRID[8]),)),
    ("costs", ("a copy", "nodes of a graph")),
)
SHORT: dict[str, Items] = {FIRST: PARTS[FIRST]} | {
    part: {name: PARTS[part][name] for name in names} for part, names in _FEW
}
