"""The parts of what is to be run on a GPU: each at most a few minutes, item by item."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from gdkernels.backend import PRECISIONS
from gdkernels.bench.gpu import conformance, costs, first, turns
from gdkernels.bench.gpu.rows import GRID, Row

__all__ = ["PARTS"]

Items = dict[str, Callable[[], Any]]

_PEERS = ("gdkernels", "torch eager", "torch.compile", "jax jit + scan")
_CASES = ("relu-sse", "adam", "norm of a clipped gradient", "softmax-cross_entropy", "wide")


def _conformance(numbers: range) -> Items:
    return {f"tests {k + 1} of {conformance.PIECES}": partial(conformance.piece, k) for k in numbers}


def _first() -> Items:
    items: Items = {
        "epilogues that are believed": first.epilogues_believed,
        "the persistent kernel": first.persistent_kernel,
        "1000 runs of the persistent kernel with other bits": partial(first.repeats, "relu-sse", "bfloat16"),
    }
    for name in _CASES:
        for precision in PRECISIONS:
            items[f"a step of {name} in {precision}"] = partial(first.step_against_interpreter, name, precision)
    items |= {f"compute-sanitizer on a step of {name}": partial(first.sanitized, name, "float32") for name in _CASES}
    return items | {f"1000 runs of {name} with other bits": partial(first.repeats, name, "float32") for name in _CASES}


def _costs() -> Items:
    items: Items = {"a copy": costs.copy_bandwidth, "nodes of a graph": costs.graph_nodes}
    # Nearly all of such a step is the meeting of the blocks.
    tiny = Row(16, 16, "bfloat16")
    items[f"a step of the persistent kernel, {tiny}"] = partial(turns.compare, tiny, ("gdkernels",))
    items |= {f"a product in {p}": partial(costs.product_rate, p) for p in PRECISIONS}
    rows = [Row(width, 1 << 14, p) for width in (256, 1024) for p in ("float32", "tf32", "bfloat16")]
    return items | {f"epilogues, {row}": partial(costs.epilogues, row) for row in rows}


def _grid(rows: tuple[Row, ...]) -> Items:
    return {str(row): partial(turns.compare, row, (*_PEERS, *_own(row))) for row in rows}


def _own(row: Row) -> tuple[str, ...]:
    """Return our own slower ways: what the persistent kernel, and what compiling, gains."""
    return ("gdkernels, CUDA graphs",) if row.width <= 64 else ("gdkernels, definition on CuPy",)


PARTS: dict[str, Items] = {
    "first minutes": _first(),
    "conformance, first half": _conformance(range(conformance.PIECES // 2)),
    "conformance, second half": _conformance(range(conformance.PIECES // 2, conformance.PIECES)),
    "costs": _costs(),
    "grid, 64 and 128 wide": _grid(GRID[:4]),
    "grid, 256 wide": _grid(GRID[4:7]),
    "grid, 1024 wide": _grid(GRID[7:10]),
    "grid, 4096 wide": _grid(GRID[10:]),
}
