"""Recording products and norms of vectors and matrices: `xp.linalg`, and what the namespace has of it itself."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from gdkernels.errors import TraceError
from gdkernels.graph import moves
from gdkernels.graph.instead import LINALG_INSTEAD
from gdkernels.graph.nodes import Node, UnknownOperationError, axes_of
from gdkernels.graph.source import user_line

if TYPE_CHECKING:
    from gdkernels.graph.namespace import Graph

__all__ = ["LinearAlgebra", "root", "tensordot"]


def tensordot(graph: Graph, a: Any, b: Any, *, axes: int | Sequence[Any] = 2) -> Node:
    """Record sums of products over axes of two arrays: a product of matrices, or of all their numbers."""
    a, b = graph.lift(a), graph.lift(b)
    if isinstance(axes, int):
        of_a, of_b = tuple(range(a.ndim - axes, a.ndim)), tuple(range(axes))
    else:
        of_a, of_b = (tuple(k) if isinstance(k, Sequence) else (k,) for k in axes)
    of_a, of_b = (tuple(axes_of(x, k)[0] for k in ks) for x, ks in ((a, of_a), (b, of_b)))
    if max(a.ndim, b.ndim) > 2 or len(of_a) != len(of_b) or a.ndim + b.ndim - 2 * len(of_a) > 2:
        raise TraceError(
            f"tensordot of {list(a.shape)} and {list(b.shape)} over {axes} cannot be traced{user_line()}; it "
            "takes vectors and matrices, and makes such: use xp.matmul and xp.concat"
        )
    if not of_a:
        return _outer(graph, a, b) if a.ndim == b.ndim == 1 else graph.apply("multiply", a, b)
    if len(of_a) == 2:
        return graph.sum(graph.apply("multiply", a, b if of_a == of_b else b.T))
    left = a if of_a[0] == a.ndim - 1 else a.T
    return graph.matmul(left, b if of_b[0] == 0 else b.T)


def _outer(graph: Graph, a: Any, b: Any, /) -> Node:
    """Record the products of all numbers of two vectors."""
    a, b = graph.lift(a), graph.lift(b)
    if a.ndim != 1 or b.ndim != 1:
        raise TraceError(f"outer takes two vectors, got {list(a.shape)} and {list(b.shape)}{user_line()}")
    return graph.apply("multiply", graph.expand_dims(a, axis=1), graph.expand_dims(b, axis=0))


def _vector_norm(
    graph: Graph,
    a: Any,
    /,
    *,
    axis: int | tuple[int, ...] | None = None,
    keepdims: bool = False,
    ord: float = 2,
) -> Node:
    """Record norms along axes; where all is 0, their slope is 0."""
    size = graph.apply("abs", a)
    if ord in (math.inf, -math.inf):
        return (graph.max if ord > 0 else graph.min)(size, axis=axis, keepdims=keepdims)
    if ord == 0:
        return graph.sum(graph.apply("where", size > 0, graph.ones_like(a), 0.0), axis=axis, keepdims=keepdims)
    if ord == 1:
        return graph.sum(size, axis=axis, keepdims=keepdims)
    if ord == 2:
        return root(graph, graph.sum(graph.apply("multiply", a, a), axis=axis, keepdims=keepdims))
    if ord < 0:
        return graph.sum(size**ord, axis=axis, keepdims=keepdims) ** (1.0 / ord)
    powers = size**ord if ord > 1 else _above_nothing(graph, size, lambda a: a**ord)
    return _above_nothing(graph, graph.sum(powers, axis=axis, keepdims=keepdims), lambda a: a ** (1.0 / ord))


def root(graph: Graph, a: Node) -> Node:
    """Record the square root of a sum of squares: where that is 0, so is the slope of the root."""
    return _above_nothing(graph, a, lambda a: graph.apply("sqrt", a))


def _above_nothing(graph: Graph, a: Node, made: Callable[[Node], Node]) -> Node:
    """Record what is made of numbers that are not negative, and 0 of 0, with the slope 0 there in place of infinity."""
    nothing = graph.apply("equal", a, 0.0)
    return graph.apply("where", nothing, 0.0, made(graph.apply("where", nothing, 1.0, a)))


def _matrix_norm(
    graph: Graph,
    a: Any,
    /,
    *,
    keepdims: bool = False,
    ord: Any = "fro",
) -> Node:
    """Record the norm of a matrix: Frobenius's, or the largest or smallest sum along an axis."""
    a = _matrix(graph, "matrix_norm", a)
    if ord == "fro":
        return _vector_norm(graph, a, axis=(0, 1), keepdims=keepdims)
    if ord not in (1, -1, math.inf, -math.inf):
        raise TraceError(
            f"matrix_norm of the order {ord!r} cannot be traced{user_line()}: that needs singular values. Take 'fro', "
            "or the largest one by steps of a power iteration, which are products and norms of vectors"
        )
    sums = graph.sum(graph.apply("abs", a), axis=0 if abs(ord) == 1 else 1, keepdims=True)
    return (graph.max if ord > 0 else graph.min)(sums, axis=(0, 1), keepdims=keepdims)


def _diagonal(graph: Graph, a: Any, /, *, offset: int = 0) -> Node:
    """Record the diagonal of a parameter."""
    a = _matrix(graph, "diagonal", a)
    if not moves.is_counted(a.shape[0]):
        raise TraceError(f"diagonal of records cannot be traced{user_line()}: a record is computed by itself")
    rows, columns = moves.units(a.T), moves.units(a)
    first = max(0, -offset), max(0, offset)
    count = min(rows - first[0], columns - first[1])
    if count < 1:
        raise TraceError(f"diagonal: there is none at {offset} in {list(a.shape)}{user_line()}")
    numbers_ = [graph.expand_dims(a[first[0] + k, first[1] + k], axis=0) for k in range(count)]
    return graph.concat(numbers_, axis=0)


def _trace(graph: Graph, a: Any, /, *, offset: int = 0, dtype: Any = None) -> Node:
    """Record the sum of a diagonal."""
    return graph.sum(_diagonal(graph, a, offset=offset))


def _matrix_power(graph: Graph, a: Any, n: int, /) -> Node:
    """Record a product of a square matrix with itself."""
    a = _matrix(graph, "matrix_power", a)
    if not isinstance(n, numbers.Integral) or n < 1:
        raise TraceError(f"matrix_power can be traced for whole powers of at least 1, got {n!r}{user_line()}")
    power = a if n % 2 else None
    square, left = a, int(n) // 2
    while left:
        square = graph.matmul(square, square)
        if left % 2:
            power = square if power is None else graph.matmul(power, square)
        left //= 2
    assert power is not None
    return power


_FUNCTIONS: dict[str, Callable[..., Node]] = {
    "diagonal": _diagonal,
    "matrix_norm": _matrix_norm,
    "matrix_power": _matrix_power,
    "outer": _outer,
    "tensordot": tensordot,
    "trace": _trace,
    "vector_norm": _vector_norm,
}
_OF_GRAPH = ("matmul", "matrix_transpose", "vecdot")


class LinearAlgebra:
    """`xp.linalg` while a function is traced."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def __getattr__(self, name: str) -> Callable[..., Node]:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in _OF_GRAPH:
            made: Callable[..., Node] = getattr(self._graph, name)
            return made
        if name in _FUNCTIONS:
            return partial(_FUNCTIONS[name], self._graph)
        raise UnknownOperationError(
            f"xp.linalg.{name} is not an operation that can be traced{user_line()}; "
            f"{LINALG_INSTEAD.get(name, 'those are ' + ', '.join(sorted([*_FUNCTIONS, *_OF_GRAPH])))}"
        )


def _matrix(graph: Graph, what: str, a: Any) -> Node:
    node = graph.lift(a)
    if node.ndim != 2:
        raise TraceError(f"{what} takes a matrix, got {list(node.shape)}{user_line()}")
    return node
