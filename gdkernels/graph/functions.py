"""Elementwise functions of the standard that are made of operations which a backend has to know anyway."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gdkernels.graph.namespace import Graph
    from gdkernels.graph.nodes import Node

__all__ = ["FUNCTIONS"]


_LARGE = 1e9  # whose square every precision holds, and beside which 1 is nothing


def _acosh(graph: Graph, a: Any) -> Node:
    large = graph.apply("greater", a, _LARGE)
    above = graph.apply("where", large, 1.0, a - 1.0)  # exact near 1
    near = graph.apply("log1p", above + graph.apply("sqrt", above) * graph.apply("sqrt", above + 2.0))
    return graph.apply("where", large, _log_of_twice(graph, large, a), near)


def _asinh(graph: Graph, a: Any) -> Node:
    sign = graph.apply("where", graph.apply("less", a, 0.0), -1.0, 1.0)  # not 0 at 0, where the slope is 1
    size = sign * a
    large = graph.apply("greater", size, _LARGE)
    square = graph.apply("where", large, 1.0, size * size)
    near = graph.apply("log1p", size + square / (1.0 + graph.apply("sqrt", square + 1.0)))
    return sign * graph.apply("where", large, _log_of_twice(graph, large, size), near)


def _log_of_twice(graph: Graph, large: Node, a: Any) -> Node:
    return graph.apply("log", graph.apply("where", large, a, 1.0)) + math.log(2.0)


def _hypot(graph: Graph, a: Any, b: Any) -> Node:
    sizes = graph.apply("abs", a), graph.apply("abs", b)
    larger, smaller = graph.apply("maximum", *sizes), graph.apply("minimum", *sizes)
    share = smaller / graph.apply("where", graph.apply("equal", larger, 0.0), 1.0, larger)
    return larger * graph.apply("sqrt", 1.0 + share * share)


# The differences are of numbers that are exact near 0: nothing is lost there.
FUNCTIONS: dict[str, Callable[..., Node]] = {
    "asinh": _asinh,
    "atanh": lambda graph, a: 0.5 * (graph.apply("log1p", a) - graph.apply("log1p", graph.apply("negative", a))),
    "acosh": _acosh,
    "cosh": lambda graph, a: 0.5 * (graph.apply("exp", a) + graph.apply("exp", graph.apply("negative", a))),
    "hypot": _hypot,
    "isfinite": lambda graph, a: graph.apply("less", graph.apply("abs", a), math.inf),
    "isinf": lambda graph, a: graph.apply("equal", graph.apply("abs", a), math.inf),
    "isnan": lambda graph, a: graph.apply("not_equal", a, a),
    "log10": lambda graph, a: graph.apply("log", a) / math.log(10.0),
    "log2": lambda graph, a: graph.apply("log", a) / math.log(2.0),
    "logical_xor": lambda graph, a, b: (a & ~b) | (~a & b),
    "positive": lambda graph, a: graph.lift(a),
    "sinh": lambda graph, a: 0.5 * (graph.apply("expm1", a) - graph.apply("expm1", graph.apply("negative", a))),
    "tan": lambda graph, a: graph.apply("sin", a) / graph.apply("cos", a),
}
