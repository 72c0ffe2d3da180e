"""Recording what moves numbers and computes none: columns, arrays side by side, rows of a table by their numbers."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from gdkernels.errors import TraceError
from gdkernels.graph.nodes import Dim, Node, Recorded, is_one, same_size
from gdkernels.graph.operations import BOOL, ELEMENTWISE, INT, REAL, SCALAR
from gdkernels.graph.source import user_line

if TYPE_CHECKING:
    from gdkernels.graph.namespace import Graph

__all__ = ["column", "columns", "concat", "is_counted", "known", "row_outer", "row_product", "stack", "take", "units"]


_OF_SIZES: dict[str, Callable[..., float]] = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
}


def units(a: Node) -> int:
    """Return how many columns a [records, units] has.

    Raises
    ------
    TraceError
        If the number is not known while the function is traced, as that of the records.
    """
    size = a.shape[-1] if a.ndim else 1
    number = size.size if isinstance(size, Dim) else size
    if a.ndim != 2 or number is None:
        raise TraceError(
            f"an array of the shape {list(a.shape)} cannot be taken apart{user_line()}: it is no matrix, or of any "
            "width, so that its columns cannot be counted"
        )
    return number


def is_counted(size: Dim | int) -> bool:
    """Return whether a size has a number while a function is traced: that of the records has none."""
    return isinstance(size, int) or size.size is not None


def known(value: Any) -> Any:
    """Return the number of a size, or of what is computed of sizes, if it is known and whole; else what is given."""
    if isinstance(value, Dim):
        return value if value.size is None else value.size
    if not isinstance(value, Node) or value.dtype != SCALAR:
        return value
    if value.op in ("dim", "constant"):
        number = known(value.attribute)
    else:
        parts = [known(a) for a in value.args]
        joined = _OF_SIZES.get(value.op)
        if joined is None or any(isinstance(part, Recorded) for part in parts):
            return value
        number = joined(*parts)
    return int(number) if not isinstance(number, Recorded) and number == int(number) else value


def column(graph: Graph, a: Node, k: int) -> Node:
    """Return column `k`, as numbers [records]."""
    count = units(a)
    if not -count <= k < count:
        raise TraceError(f"there is no column {k} among {count}{user_line()}")
    k %= count
    a, k = _origin(a, k)
    if is_one(a.shape[1]):
        return graph.squeeze(a, 1)
    if a.op == "broadcast_to":
        source = a.args[0]
        if source.ndim == 2 and is_one(source.shape[1]):
            return graph.broadcast_to(graph.squeeze(source, 1), a.shape[:1])
        if source.ndim == 0:
            return graph.broadcast_to(source, a.shape[:1])
    if a.dtype == BOOL:
        return _of_condition(graph, a, lambda numbers: column(graph, numbers, k))
    return graph.node("column", (a,), k, a.shape[:1], a.dtype)


def columns(graph: Graph, a: Node, start: int | None, stop: int | None) -> Node:
    """Return the columns from `start` to `stop`, as a slice means them."""
    count = units(a)
    first, last, _ = slice(start, stop).indices(count)
    if last <= first:
        raise TraceError(f"there are no columns from {start} to {stop} among {count}{user_line()}")
    if last - first == count:
        return a
    if a.op == "concat":
        parts, at = [], 0
        for part in a.args:
            here = units(part)
            low, high = max(first, at), min(last, at + here)
            if low < high:
                parts.append(columns(graph, part, low - at, high - at))
            at += here
        return concat(graph, parts, 1)
    if a.op == "columns":
        inner = a.attribute[0]
        return columns(graph, a.args[0], inner + first, inner + last)
    width = graph.width(last - first)
    if a.op == "broadcast_to" and (not a.args[0].ndim or is_one(a.args[0].shape[-1])):
        return graph.broadcast_to(a.args[0], (a.shape[0], width))
    if is_one(width):
        return graph.expand_dims(column(graph, a, first), axis=1)
    if a.dtype == BOOL:
        return _of_condition(graph, a, lambda numbers: columns(graph, numbers, first, last))
    return graph.node("columns", (a,), (first, last), (a.shape[0], width), a.dtype)


def _of_condition(graph: Graph, a: Node, moved: Callable[[Node], Node]) -> Node:
    """Return what moves a condition: compiled steps keep numbers alone, so it is moved as 1 and 0."""
    return graph.apply("greater", moved(graph.apply("where", a, 1.0, 0.0)), 0.0)


def concat(graph: Graph, arrays: Sequence[Node], axis: int | None) -> Node:
    """Return arrays [records, units] side by side; parameters also one above the other, and vectors in one."""
    ranks = {a.ndim for a in arrays}
    if ranks == {1} and axis in (0, -1) and all(is_counted(a.shape[0]) for a in arrays):
        return graph.squeeze(concat(graph, [graph.expand_dims(a, axis=0) for a in arrays], 1), 0)
    if ranks == {2} and axis in (0, -2) and all(is_counted(a.shape[0]) for a in arrays):
        return concat(graph, [a.T for a in arrays], 1).T
    if axis not in (1, -1) or ranks != {2}:
        shown = ", ".join(str(list(a.shape)) for a in arrays)
        raise TraceError(
            f"concat takes arrays of records side by side, along axis 1, and parameters that are all matrices or all "
            f"vectors; got {shown} along {axis}{user_line()}"
        )
    if any(a.dtype in (BOOL, INT) for a in arrays) or any(
        not same_size(a.shape[0], arrays[0].shape[0]) for a in arrays
    ):
        raise TraceError(f"concat takes numbers, as many rows in each{user_line()}")
    parts: list[Node] = []
    for a in (part for whole in arrays for part in (whole.args if whole.op == "concat" else (whole,))):
        before = _stretch(parts[-1]) if parts else None
        here = _stretch(a)
        if before is not None and here is not None and before[0] is here[0] and before[2] == here[1]:
            parts[-1] = columns(graph, here[0], before[1], here[2])
        else:
            parts.append(a)
    if len(parts) == 1:
        return parts[0]
    width = graph.width(sum(map(units, parts)))
    placed = (_placed(graph, part) for part in parts)
    return graph.node("concat", tuple(placed), None, (arrays[0].shape[0], width), REAL)


def stack(graph: Graph, vectors: Sequence[Node], axis: int) -> Node:
    """Return vectors side by side, as columns or rows."""
    if axis not in (0, 1, -1) or any(a.ndim != 1 for a in vectors):
        shown = ", ".join(str(list(a.shape)) for a in vectors)
        raise TraceError(f"stack takes vectors, along axis 0 or 1; got {shown} along {axis}{user_line()}")
    along = 1 if axis else 0
    return concat(graph, [graph.expand_dims(a, axis=along) for a in vectors], along)


def take(graph: Graph, a: Node, indices: Node, axis: int | None) -> Node:
    """Return the rows of a table [rows, units] with these numbers, a row for each record."""
    if axis == 0 and a.ndim == 1:  # numbers: rows of one
        return graph.squeeze(take(graph, graph.expand_dims(a, axis=1), indices, 0), 1)
    if axis == 0 and a.ndim == 2 and is_one(a.shape[1]):
        table = graph.broadcast_to(a, (a.shape[0], _unit(graph)))
        return graph.expand_dims(column(graph, take(graph, table, indices, 0), 0), axis=1)
    if axis != 0 or a.ndim != 2 or indices.ndim != 1:
        raise TraceError(
            f"take of {list(a.shape)} and {list(indices.shape)} along {axis} cannot be traced{user_line()}: "
            "only rows of a table can, xp.take(table, codes, axis=0). To pick or order units, declare a constant "
            "P = np.eye(n)[:, indices] and write a @ p['P']"
        )
    if indices.dtype != INT:
        raise TraceError(f"the numbers of rows are whole: xp.astype(codes, xp.int32){user_line()}")
    return graph.node("take", (a, indices), None, (indices.shape[0], a.shape[1]), REAL)


def _placed(graph: Graph, part: Node) -> Node:
    """Return a part of `concat` with a place of its own: a computed column becomes a matrix of one unit.

    Columns that are only taken, and reductions, have one.
    """
    value = part
    while value.op in ("expand_dims", "squeeze", "detach"):
        value = value.args[0]
    if not is_one(part.shape[1]) or not (value.op in ELEMENTWISE or _is_stretched(value)):
        return part
    return graph.broadcast_to(part, (part.shape[0], _unit(graph)))


def _unit(graph: Graph) -> Dim:
    """Return the size that is a symbol for 1."""
    return graph.widths[1] if 1 in graph.widths else graph.dim("n1", 1)


def _is_stretched(a: Node) -> bool:
    """Return whether `a` repeats something for each record, but for 0, which needs no place."""
    return a.op == "broadcast_to" and not (a.args[0].op == "constant" and a.args[0].attribute == 0)


def row_outer(graph: Graph, a: Node, d: Node) -> Node:
    """Return for each record the products of all its numbers in `a` with all those in `d`, side by side."""
    if a.ndim != 2 or d.ndim != 2 or not same_size(a.shape[0], d.shape[0]) or {a.dtype, d.dtype} & {BOOL, INT}:
        raise TraceError(f"row_outer takes numbers [records, units], got {list(a.shape)} and {list(d.shape)}")
    if is_one(a.shape[1]) or is_one(d.shape[1]):
        return graph.apply("multiply", a, d)
    width = graph.width(units(a) * units(d))
    return graph.node("row_outer", (a, d), None, (a.shape[0], width), REAL)


def row_product(graph: Graph, a: Node, b: Node, sizes: tuple[int, int, int], turned: tuple[bool, bool]) -> Node:
    """Return for each record the product of two matrices of its own, [n, k] and [k, m], row after row.

    Parameters
    ----------
    sizes
        n, k and m.
    turned
        Whether the rows of `a` and `b` are those of the transposes, [k, n] and [m, k].
    """
    n, k, m = sizes
    if {a.dtype, b.dtype} & {BOOL, INT} or (units(a), units(b)) != (n * k, k * m):
        raise TraceError(f"row_product takes numbers [records, units], got {list(a.shape)} and {list(b.shape)}")
    return graph.node("row_product", (a, b), (n, k, m, *turned), (a.shape[0], graph.width(n * m)), REAL)


def _origin(a: Node, k: int) -> tuple[Node, int]:
    """Return where column `k` comes from: an array that is not made of columns of others, and the number there."""
    while True:
        if a.op == "columns":
            a, k = a.args[0], a.attribute[0] + k
        elif a.op == "concat":
            for part in a.args:
                if k < units(part):
                    break
                k -= units(part)
            a = part
        else:
            return a, k


def _stretch(a: Node) -> tuple[Node, int, int] | None:
    """Return which columns of which array these are, if they are just that."""
    if a.op == "columns":
        return a.args[0], *a.attribute
    if a.op == "expand_dims" and a.attribute == 1 and a.args[0].op == "column":
        k = a.args[0].attribute
        return a.args[0].args[0], k, k + 1
    return None
