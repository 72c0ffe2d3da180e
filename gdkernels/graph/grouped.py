"""Arrays [records, groups, units] while they are recorded: a matrix [records, units] for each group.

Steps know vectors and matrices alone. So each operation on such an array is recorded for each of its groups, and a
reduction over them joins their matrices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, reduce, wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from gdkernels.errors import TraceError
from gdkernels.graph import moves, reductions
from gdkernels.graph.nodes import Node, Recorded, Shape, UnknownOperationError, axes_of, is_one
from gdkernels.graph.source import user_line

if TYPE_CHECKING:
    from gdkernels.graph.namespace import Graph

__all__ = ["Grouped", "grouped", "reshaped", "stacked", "takes_groups"]

P = ParamSpec("P")
T = TypeVar("T")
Axes = int | tuple[int, ...] | None

_TERMS = 64  # of a product of matrices of each record that are operations of their own; if it has more, it is one
_JOINS = {"sum": "add", "max": "maximum", "min": "minimum"}


class Grouped(Recorded):
    """An array of three dimensions, by its groups: matrices of one shape."""

    __slots__ = ("graph", "parts", "turned")

    def __init__(self, graph: Graph, parts: Sequence[Node], turned: Grouped | None = None) -> None:
        self.graph, self.parts, self.turned = graph, tuple(parts), turned

    @property
    def shape(self) -> Shape:
        rows, units = self.parts[0].shape
        return rows, self.graph.width(len(self.parts)), units

    ndim = 3

    @property
    def dtype(self) -> str:
        return self.parts[0].dtype

    @property
    def mT(self) -> Grouped:  # noqa: N802 (the standard's name)
        return _turned(self)

    def each(self, made: Callable[[Node], Node]) -> Grouped:
        """Return what is made of each group."""
        return Grouped(self.graph, [made(part) for part in self.parts])

    def __eq__(self, other: object) -> Any:
        return self.graph.apply("equal", self, other)

    def __ne__(self, other: object) -> Any:
        return self.graph.apply("not_equal", self, other)

    def __hash__(self) -> int:
        return id(self)

    def __abs__(self) -> Any:
        return self.graph.apply("abs", self)

    def __and__(self, other: Any) -> Any:
        return self.graph.apply("logical_and", self, other)

    def __or__(self, other: Any) -> Any:
        return self.graph.apply("logical_or", self, other)

    def __invert__(self) -> Any:
        return self.graph.apply("logical_not", self)

    def __matmul__(self, other: Any) -> Any:
        return self.graph.matmul(self, other)

    def __getitem__(self, key: Any) -> Any:
        return _indexed(self, key)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise UnknownOperationError(f"an array of three dimensions has no .{name} while it is traced{user_line()}")

    def __repr__(self) -> str:
        return f"groups {list(self.shape)}"


def takes_groups(method: Callable[P, T]) -> Callable[P, T]:
    """Let a method of `Graph` take arrays of three dimensions too, of which it makes such ones, or nodes.

    Types tell of nodes alone: only functions of users have the others, and these ask for no types.
    """
    name = method.__name__

    @wraps(method)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        for a in args:
            if isinstance(a, Grouped) or (isinstance(a, (list, tuple)) and any(isinstance(v, Grouped) for v in a)):
                made: T = _FUNCTIONS[name](*args, **kwargs)
                return made
        return method(*args, **kwargs)

    return run


def stacked(graph: Graph, arrays: Sequence[Node], axis: int) -> Any:
    """Record matrices as groups, or as the units of each group; None along other axes."""
    together = Grouped(graph, arrays) if axis in (1, 2, -1, -2) else None
    return together if together is None or axis in (1, -2) else _turned(together)


def grouped(a: Node, axis: int) -> Any:
    """Return a matrix with one more axis, of size 1; None if it cannot be parted there."""
    graph, axis = a.graph, axis + 3 if axis < 0 else axis
    if axis == 1 and moves.is_counted(a.shape[1]):
        return Grouped(graph, [a])
    if axis == 2 and moves.is_counted(a.shape[1]):
        return Grouped(graph, [moves.columns(graph, a, k, k + 1) for k in range(moves.units(a))])
    if axis == 0 and all(map(moves.is_counted, a.shape)):
        return Grouped(graph, _rows(a))
    return None


def _apply(graph: Graph, op: str, *values: Any) -> Grouped:
    """Record an elementwise operation for each group; matrices beside them have a row for each."""
    return _each_of(graph, op, partial(graph.apply, op), values)


def _logaddexp(graph: Graph, *values: Any) -> Grouped:
    return _each_of(graph, "logaddexp", graph.logaddexp, values)


def _each_of(graph: Graph, op: str, made: Callable[..., Node], values: Sequence[Any]) -> Grouped:
    lifted = [v if isinstance(v, Grouped) else graph.lift(v) for v in values]
    operands = [_parts(v) for v in lifted]
    counts = {len(parts) for parts in operands} - {1}
    if len(counts) > 1:
        shapes = " and ".join(str(list(v.shape)) for v in lifted)
        raise TraceError(f"{op}: shapes {shapes} do not fit{user_line()}")
    count = counts.pop() if counts else 1
    return Grouped(graph, [made(*(parts[k if len(parts) > 1 else 0] for parts in operands)) for k in range(count)])


def _reduction(op: str) -> Callable[..., Any]:
    def reduced(graph: Graph, a: Grouped, *, axis: Axes = None, keepdims: bool = False) -> Any:
        """Record a reduction over the units of each group, over the groups, or both."""
        axes = axes_of(a, axis)
        function = getattr(graph, op)
        if 0 in axes and not moves.is_counted(a.shape[0]):
            raise TraceError(
                f"xp.{op} of {list(a.shape)} over records cannot be traced{user_line()}; axis=1 and axis=2 can"
            )
        if {0, 2} & set(axes):
            inner = tuple(k // 2 for k in axes if k != 1)
            a = a.each(lambda part: function(part, axis=inner, keepdims=True))
        if 1 in axes:
            a = Grouped(graph, [reduce(partial(graph.apply, _JOINS[op]), a.parts)])
        return a if keepdims else _squeeze(graph, a, axes)

    return reduced


def _mean(graph: Graph, a: Any, *, axis: Axes = None, keepdims: bool = False) -> Any:
    return reductions.mean(graph, a, axis, keepdims)


def _var(graph: Graph, a: Any, *, axis: Axes = None, correction: float = 0.0, keepdims: bool = False) -> Any:
    return reductions.variance(graph, a, axis, correction, keepdims)


def _squeeze(graph: Graph, a: Grouped, axis: int | tuple[int, ...]) -> Any:
    """Record an array without axes of size 1."""
    axes = axes_of(a, axis)
    if 1 in axes and len(a.parts) > 1:
        raise TraceError(f"squeeze: {list(a.shape)} is not of size 1 along 1{user_line()}")
    if 0 in axes:
        rows = graph.concat(a.parts, axis=0)
        return graph.squeeze(rows, tuple(k - 1 for k in axes if k)) if len(axes) > 1 else rows
    if axes == (1,):
        return a.parts[0]
    if 1 in axes:
        return graph.squeeze(a.parts[0], 1)
    return graph.concat(a.parts, axis=1) if 2 in axes else a


def _matmul(graph: Graph, a: Any, b: Any) -> Any:
    """Record products of groups with a matrix or a vector, of records with their own, or over groups."""
    if not isinstance(a, Grouped) and a.ndim == 2 and all(map(moves.is_counted, a.shape)):
        return _turned(_matmul(graph, _turned(b), a.T))  # a matrix that the groups of each record are multiplied by
    if not isinstance(a, Grouped):
        raise TraceError(
            f"matmul of {list(a.shape)} and {list(b.shape)} cannot be traced{user_line()}; a[:, None, :] has a matrix "
            "of one row for each record"
        )
    if isinstance(b, Grouped):
        if len(b.parts) != moves.units(a.parts[0]):
            raise TraceError(f"matmul: shapes {list(a.shape)} and {list(b.shape)} do not fit{user_line()}")
        if len(a.parts) * len(b.parts) > _TERMS and _are_of_records(a, b):
            return _product_of_records(a, b)
        return a.each(
            lambda part: reduce(_sum, (moves.columns(graph, part, k, k + 1) * row for k, row in enumerate(b.parts)))
        )
    if b.ndim == 1:
        return graph.stack([part @ b for part in a.parts], axis=1)
    return a.each(lambda part: graph.matmul(part, b))


def _are_of_records(a: Grouped, b: Grouped) -> bool:
    """Return whether two arrays have matrices for each record, and none of them has or makes a single number."""
    rows, width = (g.parts[0].shape[0] for g in (a, b)), moves.units(b.parts[0])
    return not any(map(moves.is_counted, rows)) and min(len(a.parts), len(b.parts)) * width > 1


def _product_of_records(a: Grouped, b: Grouped) -> Any:
    """Record products of records with a matrix of their own as one operation."""
    sizes = len(a.parts), len(b.parts), moves.units(b.parts[0])
    left, right = (a.graph.concat((f if f.turned is None else f.turned).parts, axis=1) for f in (a, b))
    made = a.graph.row_product(left, right, sizes, (a.turned is not None, b.turned is not None))
    return reshaped(made, len(a.parts))


def _turned(a: Grouped) -> Grouped:
    """Record groups as units, and units as groups."""
    if a.turned is not None:
        return a.turned
    graph = a.graph
    places = range(moves.units(a.parts[0]))
    parts = [graph.concat([moves.columns(graph, p, k, k + 1) for p in a.parts], axis=1) for k in places]
    return Grouped(graph, parts, turned=a)


def reshaped(a: Grouped | Node, groups: int) -> Any:
    """Record records in so many groups of units side by side."""
    graph = a.graph
    matrix = graph.concat(a.parts, axis=1) if isinstance(a, Grouped) else a
    each = moves.units(matrix) // groups
    return Grouped(graph, [moves.columns(graph, matrix, k * each, (k + 1) * each) for k in range(groups)])


def _concat(graph: Graph, arrays: Sequence[Any], *, axis: int | None = 0) -> Grouped:
    """Record arrays beside each other: groups after groups, or the units of each group side by side."""
    if not all(isinstance(a, Grouped) for a in arrays) or axis not in (1, 2, -1, -2):
        shapes = ", ".join(str(list(a.shape)) for a in arrays)
        raise TraceError(f"concat of {shapes} along {axis} cannot be traced{user_line()}")
    if axis in (1, -2):
        return Grouped(graph, [part for a in arrays for part in a.parts])
    return Grouped(graph, [graph.concat(parts, axis=1) for parts in zip(*(a.parts for a in arrays), strict=True)])


def _indexed(a: Grouped, key: Any) -> Any:
    """Record groups by their numbers, and units of all of them."""
    keys = list(key) if isinstance(key, tuple) else [key]
    for at in [n for n, k in enumerate(keys) if k is ...][:1]:
        keys[at : at + 1] = [slice(None)] * (4 - len(keys))
    keys += [slice(None)] * (3 - len(keys))
    known = all(isinstance(k, (int, slice)) and not isinstance(k, bool) for k in keys)
    if len(keys) != 3 or not known or keys[0] != slice(None):
        raise TraceError(
            f"indexing {list(a.shape)} so cannot be traced{user_line()}; a[:, 1] is a group, a[:, :, 1] a unit of each"
        )
    of_groups, of_units = keys[1:]
    parts: Any = a.parts[of_groups]
    if isinstance(of_groups, int):
        return parts[:, of_units]
    if isinstance(of_units, int):
        return a.graph.stack([part[:, of_units] for part in parts], axis=1)
    return Grouped(a.graph, [part[:, of_units] for part in parts])


def _astype(graph: Graph, a: Grouped, dtype: Any) -> Grouped:
    return a.each(lambda part: graph.astype(part, dtype))


def _full_like(graph: Graph, a: Grouped, value: float) -> Grouped:
    return a.each(lambda part: graph.full_like(part, value))


def _permute_dims(graph: Graph, a: Grouped, axes: Sequence[int]) -> Grouped:
    order = [k % 3 for k in axes]
    if order not in ([0, 1, 2], [0, 2, 1]):
        raise TraceError(
            f"permute_dims of {list(a.shape)} by {tuple(axes)} cannot be traced{user_line()}; records come first"
        )
    return a if order == [0, 1, 2] else _turned(a)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "apply": _apply,
    "astype": _astype,
    "concat": _concat,
    "full_like": _full_like,
    "logaddexp": _logaddexp,
    "matmul": _matmul,
    "matrix_transpose": lambda graph, a: _turned(a),
    "mean": _mean,
    "permute_dims": _permute_dims,
    "squeeze": _squeeze,
    "var": _var,
    **{op: _reduction(op) for op in _JOINS},
}


def _sum(a: Node, b: Node) -> Node:
    return a + b


def _parts(v: Grouped | Node) -> Sequence[Node]:
    """Return an operand's matrix for each group, or one for all."""
    if isinstance(v, Grouped):
        return v.parts
    if v.ndim < 2:  # a number for each unit, or one for all
        return [v]
    if v.ndim > 2 or not moves.is_counted(v.shape[0]):
        raise TraceError(
            f"an array of the shape {list(v.shape)} beside one of three dimensions{user_line()}: it needs an axis of "
            "its own, a[:, None, :] for all groups or a[:, :, None] for a number for each"
        )
    return [v] if is_one(v.shape[0]) else _rows(v)


def _rows(a: Node) -> list[Node]:
    """Return the rows of a parameter, as matrices of one row."""
    graph = a.graph
    if is_one(a.shape[0]):
        return [a]
    return [graph.expand_dims(a[k], axis=0) for k in range(moves.units(a.T))]
