"""Recording what changes the shape of arrays: broadcasting, axes of size 1, transposes; and products."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gdkernels.errors import TraceError
from gdkernels.graph import moves
from gdkernels.graph.nodes import Dim, Node, Shape, broadcast_shapes, is_one, same_shape, same_size
from gdkernels.graph.operations import REAL, SCALAR
from gdkernels.graph.source import user_line

if TYPE_CHECKING:
    from gdkernels.graph.namespace import Graph

__all__ = ["broadcast", "expanded", "is_single", "number_within", "permuted", "product", "squeezed", "transposed"]


def broadcast(graph: Graph, node: Node, shape: Shape) -> Node:
    """Record an array repeated to a shape; its numbers become sizes, but for 1."""
    shape = tuple(graph.width(int(n)) if isinstance(n, numbers.Integral) and n != 1 else n for n in shape)
    if same_shape(node.shape, shape):
        return node
    if node.ndim == len(shape) == 2 and is_single(node.shape[1]) and is_one(shape[1]):  # 1, and no symbol for it
        return broadcast(graph, graph.expand_dims(moves.column(graph, node, 0), axis=1), shape)
    if node.ndim == len(shape) == 2 and is_single(node.shape[0]) and not is_single(shape[0]) and not is_one(shape[0]):
        return broadcast(graph, graph.sum(node, axis=0), shape)  # a parameter of one row, for each record
    if not same_shape(broadcast_shapes("broadcast_to", [node.shape, shape]), shape):
        raise TraceError(f"{list(node.shape)} does not broadcast to {list(shape)}{user_line()}")
    source = node.args[0] if node.op == "broadcast_to" else node
    return graph.node("broadcast_to", (source,), None, shape, node.dtype)


def expanded(graph: Graph, a: Node, axis: int) -> Node:
    """Record an array with one more axis, of size 1."""
    given, axis = axis, axis + a.ndim + 1 if axis < 0 else axis
    if not 0 <= axis <= a.ndim:
        raise TraceError(f"expand_dims: axis {given} is out of range for {list(a.shape)}{user_line()}")
    shape = (*a.shape[:axis], 1, *a.shape[axis:])
    number = number_within(a)
    if number is not None:
        return graph.broadcast_to(number, shape)
    return graph.node("expand_dims", (a,), axis, shape, a.dtype)


def squeezed(graph: Graph, a: Node, axes: tuple[int, ...]) -> Node:
    """Record an array without these axes, whose sizes are 1."""
    if any(not is_one(a.shape[k]) for k in axes):
        raise TraceError(f"squeeze: {list(a.shape)} is not of size 1 along {axes}{user_line()}")
    shape = tuple(d for k, d in enumerate(a.shape) if k not in axes)
    if a.op == "expand_dims" and axes == (a.attribute,):
        return a.args[0]
    number = number_within(a)
    if number is not None:
        return graph.broadcast_to(number, shape)
    return graph.node("squeeze", (a,), axes, shape, a.dtype)


def permuted(graph: Graph, a: Node, axes: Sequence[int]) -> Node:
    """Record an array with its axes in another order."""
    order = [k + a.ndim if k < 0 else k for k in axes]
    if sorted(order) != list(range(a.ndim)):
        raise TraceError(f"permute_dims: axes {tuple(axes)} do not fit {list(a.shape)}{user_line()}")
    return a if order == sorted(order) else graph.matrix_transpose(a)


def transposed(graph: Graph, a: Node) -> Node:
    """Record the transpose of a matrix; of a transpose, the matrix."""
    if a.ndim != 2:
        raise TraceError(f"a transpose needs two dimensions, got {list(a.shape)}{user_line()}")
    if a.op == "transpose":
        return a.args[0]
    number = number_within(a)
    if number is not None:
        return graph.broadcast_to(number, a.shape[::-1])
    return graph.node("transpose", (a,), None, a.shape[::-1], a.dtype)


def product(graph: Graph, a: Node, b: Node) -> Node:
    """Record a product of matrices, or with a vector."""
    if not all(1 <= rank <= 2 for rank in (a.ndim, b.ndim)) or not _as_long(a.shape[-1], b.shape[0]):
        raise TraceError(f"matmul: shapes {list(a.shape)} and {list(b.shape)} do not fit{user_line()}")
    if a.ndim == 1:
        return graph.squeeze(product(graph, graph.expand_dims(a, axis=0), b), 0)
    if b.ndim == 1:
        return graph.squeeze(product(graph, a, graph.expand_dims(b, axis=1)), 1)
    if not same_size(a.shape[1], b.shape[0]):  # 1 and a symbol for it
        a = graph.broadcast_to(a, (a.shape[0], b.shape[0])) if is_one(a.shape[1]) else a
        b = graph.broadcast_to(b, (a.shape[1], b.shape[1]))
    if SCALAR in (a.dtype, b.dtype):
        return _of_one_number(graph, a, b)
    if a.dtype != REAL or b.dtype != REAL:
        raise TraceError(f"matmul takes numbers{user_line()}: use xp.astype to make numbers of {a.dtype} arrays")
    return graph.node("matmul", (a, b), None, (a.shape[0], b.shape[1]), REAL)


def _of_one_number(graph: Graph, a: Node, b: Node) -> Node:
    """Record a product with a matrix that repeats a number, such as the zeros that a recurrence starts from."""
    repeated = a if a.dtype == SCALAR else b
    number = repeated.args[0] if repeated.op == "broadcast_to" else repeated
    if number.op != "constant" or number.attribute != 0:
        sums = graph.sum(b, axis=0) if repeated is a else graph.sum(a, axis=1, keepdims=True)
        number = graph.apply("multiply", number, sums)
    return graph.broadcast_to(number, (a.shape[0], b.shape[1]))


def number_within(a: Node) -> Node | None:
    """Return the number that `a` repeats, if it is nothing else."""
    source = a.args[0] if a.op == "broadcast_to" else a
    return source if source.dtype == SCALAR else None


def is_single(size: Dim | int) -> bool:
    """Return whether a size is a symbol for 1."""
    return isinstance(size, Dim) and size.size == 1


def _as_long(a: Dim | int, b: Dim | int) -> bool:
    """Return whether two sizes are equal, or both 1, which of a sum that keeps its axis is no symbol."""
    return same_size(a, b) or all(is_one(size) or is_single(size) for size in (a, b))
