"""The parts of what is to be run on a GPU: each at most eight minutes, item by item.

How long an item takes at most is estimated, nothing having been run on a GPU: a first run of all that it compiles,
weights and data drawn anew in every contender's process, torch.compile's own measurements.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmarks.gpu import conformance, costs, first, turns
from benchmarks.gpu.rows import GRID, Row
from gdkernels.backend import PRECISIONS

__all__ = ["PARTS", "Item"]


@dataclass(frozen=True)
class Item:
    """Some work, and the seconds that it should take at most."""

    work: Callable[[], Any]
    seconds: float


Items = dict[str, Item]

_PEERS = ("gdkernels", "torch eager", "torch.compile", "jax jit + scan")
_CASES = ("relu-sse", "adam", "norm of a clipped gradient", "softmax-cross_entropy", "wide")


def _conformance(numbers: range) -> Items:
    return {f"tests {k + 1} of {conformance.PIECES}": Item(partial(conformance.piece, k), 115) for k in numbers}


def _first() -> Items:
    items = {
        "epilogues that are believed": Item(first.epilogues_believed, 20),
        "the persistent kernel": Item(first.persistent_kernel, 20),
        "1000 runs of the persistent kernel with other bits": Item(partial(first.repeats, "relu-sse", "bfloat16"), 20),
    }
    for name in _CASES:
        for precision in PRECISIONS:
            step = partial(first.step_against_interpreter, name, precision)
            items[f"a step of {name} in {precision}"] = Item(step, 5)
    for name in _CASES:
        work = partial(first.sanitized, name, "float32")
        items[f"compute-sanitizer on a step of {name}"] = Item(work, 40)
    for name in _CASES:
        items[f"1000 runs of {name} with other bits"] = Item(partial(first.repeats, name, "float32"), 20)
    return items


def _costs() -> Items:
    items = {"a copy": Item(costs.copy_bandwidth, 10), "nodes of a graph": Item(costs.graph_nodes, 20)}
    # Nearly all of such a step is the meeting of the blocks.
    tiny = Row(16, 16, "bfloat16")
    items[f"a step of the persistent kernel, {tiny}"] = Item(partial(turns.compare, tiny, ("gdkernels",)), 40)
    items |= {f"a product in {p}": Item(partial(costs.product_rate, p), 15) for p in PRECISIONS}
    rows = [Row(width, 1 << 14, p) for width in (256, 1024) for p in ("float32", "tf32", "bfloat16")]
    return items | {f"epilogues, {row}": Item(partial(costs.epilogues, row), 50) for row in rows}


def _grid(rows: tuple[Row, ...], seconds: float) -> Items:
    return {str(row): Item(partial(turns.compare, row, (*_PEERS, *_own(row))), seconds) for row in rows}


def _own(row: Row) -> tuple[str, ...]:
    """Return our own slower ways: what the persistent kernel, and what compiling, gains."""
    return ("gdkernels, CUDA graphs",) if row.width <= 64 else ("gdkernels, definition on CuPy",)


PARTS: dict[str, Items] = {
    "first minutes": _first(),
    "conformance, first half": _conformance(range(conformance.PIECES // 2)),
    "conformance, second half": _conformance(range(conformance.PIECES // 2, conformance.PIECES)),
    "costs": _costs(),
    "grid, 64 and 128 wide": _grid(GRID[:4], 110),
    "grid, 256 wide": _grid(GRID[4:7], 110),
    "grid, 1024 wide": _grid(GRID[7:10], 120),
    "grid, 4096 wide": _grid(GRID[10:], 155),
}
