"""Recording reductions: sums, largest and smallest numbers, means and variances along axes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gdkernels.errors import TraceError
from gdkernels.graph.nodes import Node, axes_of, is_one
from gdkernels.graph.operations import BOOL, INT, REAL
from gdkernels.graph.shapes import number_within
from gdkernels.graph.source import user_line

if TYPE_CHECKING:
    from gdkernels.graph.namespace import Graph

__all__ = ["mean", "reduced", "variance"]


def reduced(graph: Graph, op: str, node: Node, axis: int | tuple[int, ...] | None, keepdims: bool) -> Node:
    """Record the reduction `op` along axes; one of size 1 is only taken out."""
    if node.dtype == BOOL:
        raise TraceError(f"xp.{op} of a condition{user_line()}: use xp.where(condition, 1.0, 0.0) first")
    if node.dtype == INT:
        raise TraceError(f"xp.{op} of integers{user_line()}: use xp.astype to make numbers of them first")
    axes = axes_of(node, axis)
    wide = tuple(k for k in axes if not is_one(node.shape[k]))
    if wide:
        shape = tuple(1 if k in wide else d for k, d in enumerate(node.shape))
        number = number_within(node)
        if number is not None and number.op == "constant" and number.attribute == 0:
            result = graph.broadcast_to(number, shape)  # as the gradient of a parameter that nothing depends on
        else:
            result = graph.node(op, (node,), wide, shape, REAL)
    else:
        result = node
    return result if keepdims or not axes else graph.squeeze(result, axes)


def mean(graph: Graph, node: Node, axis: int | tuple[int, ...] | None, keepdims: bool) -> Node:
    """Record a mean."""
    total = graph.sum(node, axis=axis, keepdims=keepdims)
    for k in axes_of(node, axis):
        total = total / node.shape[k]
    return total


def variance(graph: Graph, node: Node, axis: int | tuple[int, ...] | None, correction: float, keepdims: bool) -> Node:
    """Record a variance, whose divisor is the number of values less the `correction`."""
    apart = node - graph.mean(node, axis=axis, keepdims=True)
    if not correction:
        return graph.mean(apart * apart, axis=axis, keepdims=keepdims)
    count = graph.lift(1.0)
    for k in axes_of(node, axis):
        count = count * node.shape[k]
    return graph.sum(apart * apart, axis=axis, keepdims=keepdims) / (count - correction)
