"""Elementwise functions of the standard that are made of operations which a backend has to know anyway."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gdkernels.graph.namespace import Graph
    from gdkernels.graph.nodes import Node

__all__ = ["FUNCTIONS"]


def _asinh(graph: Graph, a: Any) -> Node:
    size = graph.apply("abs", a)
    square = size * size
    return graph.apply("sign", a) * graph.apply("log1p", size + square / (1.0 + graph.apply("sqrt", square + 1.0)))


# The differences are of numbers that are exact near 0: nothing is lost there.
FUNCTIONS: dict[str, Callable[..., Node]] = {
    "asinh": _asinh,
    "atanh": lambda graph, a: 0.5 * (graph.apply("log1p", a) - graph.apply("log1p", graph.apply("negative", a))),
    "cosh": lambda graph, a: 0.5 * (graph.apply("exp", a) + graph.apply("exp", graph.apply("negative", a))),
    "log10": lambda graph, a: graph.apply("log", a) / math.log(10.0),
    "log2": lambda graph, a: graph.apply("log", a) / math.log(2.0),
    "logical_xor": lambda graph, a, b: (a & ~b) | (~a & b),
    "positive": lambda graph, a: graph.lift(a),
    "sinh": lambda graph, a: 0.5 * (graph.apply("expm1", a) - graph.apply("expm1", graph.apply("negative", a))),
    "tan": lambda graph, a: graph.apply("sin", a) / graph.apply("cos", a),
}
