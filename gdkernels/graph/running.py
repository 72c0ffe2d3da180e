"""Recording sums and products along an axis, of all numbers up to each, and differences of neighbours.

They are made in as few rounds as there are binary digits in the number of units: each joins what is so far apart. So
their derivatives follow, also where a number is 0, and rounding grows with the rounds alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gdkernels.errors import TraceError
from gdkernels.graph import moves
from gdkernels.graph.arranging import along_units, without
from gdkernels.graph.nodes import Node, axes_of
from gdkernels.graph.operations import BOOL, INT
from gdkernels.graph.source import user_line

if TYPE_CHECKING:
    from gdkernels.graph.namespace import Graph

__all__ = ["RUNNING"]


def _cumulative(name: str, op: str, nothing: float) -> Callable[..., Node]:
    def recorded(
        graph: Graph, x: Any, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False
    ) -> Node:
        a = graph.lift(x)
        _check_kind(name, a, dtype)
        if axis is None and a.ndim != 1:
            raise TraceError(f"{name} of {list(a.shape)} needs an axis{user_line()}")

        def made(m: Node) -> Node:
            step, count = 1, moves.units(m)
            while step < count:
                m = graph.concat([m[:, :step], graph.apply(op, m[:, step:], m[:, :-step])], axis=1)
                step *= 2
            return graph.concat([graph.full_like(m[:, :1], nothing), m], axis=1) if include_initial else m

        return along_units(a, 0 if axis is None else axis, name, made)

    return recorded


def _prod(
    graph: Graph, x: Any, /, *, axis: int | tuple[int, ...] | None = None, dtype: Any = None, keepdims: bool = False
) -> Node:
    """Record the products of all numbers along axes."""
    a = graph.lift(x)
    _check_kind("prod", a, dtype)
    axes = axes_of(a, axis)

    def made(m: Node) -> Node:
        while (count := moves.units(m)) > 1:
            half = count // 2
            joined = graph.apply("multiply", m[:, :half], m[:, half : 2 * half])
            m = graph.concat([joined, m[:, 2 * half :]], axis=1) if count % 2 else joined
        return m

    for k in axes:
        a = along_units(a, k, "prod", made)
    a = without(a, axes)
    for k in axes if keepdims else ():
        a = graph.expand_dims(a, axis=k)
    return a


def _diff(graph: Graph, x: Any, /, *, axis: int = -1, n: int = 1, prepend: Any = None, append: Any = None) -> Node:
    """Record the differences of neighbours along an axis, `n` times."""
    a = graph.lift(x)
    _check_kind("diff", a, None)
    ends = [end for end in (prepend, a, append) if end is not None]
    a = a if len(ends) == 1 else graph.concat(ends, axis=axis)
    for _ in range(n):
        a = along_units(a, axis, "diff", _neighbours)
    return a


def _neighbours(m: Node) -> Node:
    return m[:, 1:] - m[:, :-1]


RUNNING: dict[str, Callable[..., Any]] = {
    "cumulative_prod": _cumulative("cumulative_prod", "multiply", 1.0),
    "cumulative_sum": _cumulative("cumulative_sum", "add", 0.0),
    "diff": _diff,
    "prod": _prod,
}


def _check_kind(name: str, a: Node, dtype: Any) -> None:
    if a.dtype in (BOOL, INT) or dtype not in (None, a.dtype):
        raise TraceError(f"{name} takes numbers and returns such{user_line()}: use xp.astype first, and no dtype")
