"""Recording elementwise operations: what operands may meet, in which shape, and what a value is made of."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from gdkernels.errors import TraceError
from gdkernels.graph import moves
from gdkernels.graph.nodes import Node, broadcast_shapes, is_one, same_size
from gdkernels.graph.operations import (
    BITWISE,
    BOOL,
    COMPARISONS,
    CONVERSIONS,
    ELEMENTWISE,
    INT,
    INT_ARITHMETIC,
    LOGICAL,
    REAL,
    SCALAR,
)
from gdkernels.graph.shapes import is_single
from gdkernels.graph.simplify import simplified
from gdkernels.graph.source import user_line

if TYPE_CHECKING:
    from gdkernels.graph.namespace import Graph

__all__ = ["applied", "converted"]


def applied(graph: Graph, op: str, values: tuple[Any, ...]) -> Node:
    """Record the elementwise operation `op`, simplified where the value stays the same to the bit."""
    if len(values) != ELEMENTWISE[op]:
        raise TraceError(f"xp.{op} takes {ELEMENTWISE[op]} operands, got {len(values)}{user_line()}")
    args = tuple(graph.lift(v) for v in values)
    if op in BITWISE or (op not in CONVERSIONS and any(a.dtype == INT for a in args)):
        args = tuple(_as_integer(graph, op, a) for a in args)
    else:
        _check_kinds(op, args)
    args = _stretched(graph, args)
    shape = broadcast_shapes(op, [a.shape for a in args])
    # An operation on broadcast operands is done before broadcasting.
    if any(_is_repeated(a) for a in args):
        inner = graph.apply(op, *(a.args[0] if _is_repeated(a) else a for a in args))
        return graph.broadcast_to(inner, shape)
    simple = None if args[0].dtype == INT else simplified(graph, op, args)
    if simple is not None:
        return graph.broadcast_to(simple, shape)
    if op in COMPARISONS or op in LOGICAL:
        dtype = BOOL
    elif op == "to_int" or (op != "to_real" and args[0].dtype == INT):
        dtype = INT
    else:
        operands = args[1:] if op == "where" else args
        dtype = SCALAR if all(a.dtype == SCALAR for a in args) and op != "to_real" else REAL
        if op == "where" and all(a.dtype == BOOL for a in operands):
            dtype = BOOL
    return graph.node(op, args, None, shape, dtype)


def converted(graph: Graph, node: Node, dtype: Any) -> Node:
    """Record numbers as integers, integers as numbers, or a condition as 1 and 0."""
    if dtype == node.dtype or (dtype == REAL and node.dtype == SCALAR):
        return node
    if node.dtype == BOOL and dtype == REAL:
        return graph.apply("where", node, 1.0, 0.0)
    if (node.dtype, dtype) not in {(REAL, INT), (INT, REAL)}:
        raise TraceError(
            f"xp.astype to {dtype!r} cannot be traced{user_line()}; numbers can be made 32-bit integers "
            "(xp.int32), and integers and conditions numbers (the dtype of an operand)"
        )
    return graph.apply("to_int" if dtype == INT else "to_real", node)


def _stretched(graph: Graph, args: tuple[Node, ...]) -> tuple[Node, ...]:
    """Return operands of which matrices of one unit are columns, where they are stretched to the width of others.

    A size is a symbol here, also one whose number is 1.
    """
    widths = {a.shape[-1] for a in args if a.ndim and not is_one(a.shape[-1])}
    heights = {a.shape[0] for a in args if a.ndim == 2 and not is_one(a.shape[0])}
    if len(widths) < 2 and len(heights) < 2:
        return args
    # A parameter of one number, or of one row, is summed over that, which leaves its numbers as they are.
    for _ in range(2):
        args = tuple(
            graph.sum(a, axis=0)
            if a.ndim and is_single(a.shape[0]) and len(heights if a.ndim == 2 else widths) > 1
            else a
            for a in args
        )
    return tuple(
        graph.expand_dims(moves.column(graph, a, 0), axis=1)
        if a.ndim == 2 and is_single(a.shape[1]) and len(widths) > 1
        else a
        for a in args
    )


def _as_integer(graph: Graph, op: str, a: Node) -> Node:
    """Return an operand of an operation on integers: an array of them, or a whole number that is one."""
    if op not in INT_ARITHMETIC:
        raise TraceError(f"{op} of integers cannot be traced{user_line()}; use xp.astype to make numbers of them")
    if a.dtype == INT:
        return a
    number = a.attribute if a.op == "constant" and a.dtype == SCALAR else math.nan
    if -(2**31) <= number < 2**31 and number == int(number):
        return graph.node("constant", (), int(number), (), INT, key=("integer", int(number)))
    raise TraceError(
        f"{op} of integers and of something else cannot be traced{user_line()}; xp.astype(a, xp.int32) makes "
        "integers of an array, and numbers beside them must be whole and fit into 32 bits"
    )


def _check_kinds(op: str, args: tuple[Node, ...]) -> None:
    conditions = args if op in LOGICAL else args[:1] if op == "where" else ()
    numbers = () if op in LOGICAL else args[len(conditions) :]
    if any(a.dtype != BOOL for a in conditions):
        raise TraceError(f"xp.{op} needs a condition such as z > 0{user_line()}")
    if op != "where" and any(a.dtype == BOOL for a in numbers):
        raise TraceError(f"{op} of a condition{user_line()}: use xp.where(condition, 1.0, 0.0) to make numbers of it")


def _is_repeated(a: Node) -> bool:
    """Return whether `a` repeats another array: not if that has the shape of a parameter but for a symbol for 1."""
    if a.op != "broadcast_to" or not a.shape or not all(map(moves.is_counted, a.shape)):
        return a.op == "broadcast_to"
    source = (*(1,) * (a.ndim - a.args[0].ndim), *a.args[0].shape)
    return not all(is_single(size) or same_size(size, own) for size, own in zip(a.shape, source, strict=True))
