"""Recording what arranges numbers anew: other shapes, and turned, rolled, repeated and parted arrays.

All of it is made of columns side by side, and rows are columns of the transpose. Records stay where they are.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from gdkernels.errors import TraceError, shown
from gdkernels.graph import moves
from gdkernels.graph.grouped import Grouped, reshaped
from gdkernels.graph.nodes import Dim, Node, Shape, axes_of, broadcast_shapes, is_one
from gdkernels.graph.source import user_line

if TYPE_CHECKING:
    from gdkernels.graph.namespace import Graph

__all__ = ["ARRANGING", "along_units", "without"]


def along_units(a: Node, axis: int, what: str, made: Callable[[Node], Node]) -> Node:
    """Return what is `made` of a matrix whose columns stand along an axis of `a`, which may be a vector.

    Raises
    ------
    TraceError
        If records stand along the axis, or it cannot be counted.
    """
    (axis,) = axes_of(a, axis)
    if a.ndim > 2 or not moves.is_counted(a.shape[axis]):
        raise TraceError(
            f"{what} of an array of the shape {list(a.shape)} along axis {axis} cannot be traced{user_line()}; along "
            "the units of records [records, units] and the axes of parameters it can: a record is computed by itself"
        )
    if a.ndim == 1:
        return a.graph.squeeze(made(a.graph.expand_dims(a, axis=0)), 0)
    return made(a) if axis == 1 else made(a.T).T


def without(a: Node, axes: Sequence[int]) -> Node:
    """Return an array without axes whose size is 1, or a symbol for it."""
    for k in sorted(axes, reverse=True):
        if is_one(a.shape[k]):
            a = a.graph.squeeze(a, k)
        else:
            a = a[0] if a.ndim == 1 else moves.column(a.graph, a if k == 1 else a.T, 0)
    return a


def _reshape(graph: Graph, x: Any, /, shape: Any, *, copy: bool | None = None) -> Node:
    """Record the numbers of an array, row by row, in another shape: of parameters any, of records more or fewer 1."""
    a = x if isinstance(x, Grouped) else graph.lift(x)
    wanted = _wanted_shape(a, shape)
    if len(wanted) == 3 and _are_equal(wanted[0], a.shape[0]) and a.ndim > 1:
        groups: Node = reshaped(a, int(_number(wanted[1])))
        return groups
    if isinstance(a, Grouped):
        a = graph.concat(a.parts, axis=1)
    if len(wanted) == a.ndim and all(map(_are_equal, wanted, a.shape)):
        return a
    wide, own = ([d for d in sizes if not _is_single(d)] for sizes in (wanted, a.shape))
    if len(wide) > 2:
        raise TraceError(
            f"reshape of {list(a.shape)} to {list(wanted)} cannot be traced{user_line()}: arrays of a block have one "
            "or two dimensions, besides those of 1. Take a part for each group, such as a[:, k * d : (k + 1) * d], and "
            "put what you make of them side by side with xp.concat"
        )
    if len(own) != len(wide) or not all(map(_are_equal, own, wide)):
        if not all(map(moves.is_counted, a.shape)):
            raise _parts_records(a, wanted)
        a = _in_rows(_in_one_row(a), [int(_number(d)) for d in wide])
    a = without(a, [k for k, d in enumerate(a.shape) if _is_single(d)])
    for k, size in enumerate(wanted):
        if _is_single(size):
            a = graph.expand_dims(a, axis=k)
    return a


def _flip(graph: Graph, x: Any, /, *, axis: int | tuple[int, ...] | None = None) -> Node:
    """Record an array in the opposite order along axes."""
    a = graph.lift(x)
    for k in axes_of(a, axis):
        a = along_units(a, k, "flip", lambda m: _units_at(m, range(moves.units(m))[::-1]))
    return a


def _roll(graph: Graph, x: Any, /, shift: int | tuple[int, ...], axis: int | tuple[int, ...] | None = None) -> Node:
    """Record an array moved along axes, what leaves at one end coming in at the other."""
    a = graph.lift(x)
    if axis is None:
        return _reshape(graph, _roll(graph, _reshape(graph, a, -1), shift, 0), a.shape)
    shifts, axes = ((v if isinstance(v, Sequence) else (v,)) for v in (shift, axis))
    for steps, k in zip([*shifts] * (len(axes) if len(shifts) == 1 else 1), axes, strict=True):

        def moved(m: Node, steps: int = _whole("roll", steps)) -> Node:
            count = moves.units(m)
            start = -steps % count
            return m if not start else graph.concat([m[:, start:], m[:, :start]], axis=1)

        a = along_units(a, k, "roll", moved)
    return a


def _repeat(graph: Graph, x: Any, /, repeats: int, *, axis: int | None = None) -> Node:
    """Record an array with each of its units as often as is said, one after the other."""
    a, times = graph.lift(x), _whole("repeat", repeats)
    if axis is None:
        a, axis = _reshape(graph, a, -1), 0
    return along_units(
        a, axis, "repeat", lambda m: _units_at(m, [k for k in range(moves.units(m)) for _ in range(times)])
    )


def _tile(graph: Graph, x: Any, /, repetitions: int | Sequence[int]) -> Node:
    """Record copies of an array side by side, along each axis as many as are said."""
    a = graph.lift(x)
    times = [_whole("tile", n) for n in (repetitions if isinstance(repetitions, Sequence) else (repetitions,))]
    for _ in range(len(times) - a.ndim):
        a = graph.expand_dims(a, axis=0)
    for axis, count in enumerate([1] * (a.ndim - len(times)) + times):
        if count > 1:
            a = along_units(a, axis, "tile", partial(_copies, count=count))
    return a


def _copies(m: Node, count: int) -> Node:
    return m.graph.concat([m] * count, axis=1)


def _unstack(graph: Graph, x: Any, /, *, axis: int = 0) -> tuple[Node, ...]:
    """Record each of the columns of an array by itself, or each of the rows of a parameter."""
    a = graph.lift(x)
    (k,) = axes_of(a, axis)
    if a.ndim > 2 or not moves.is_counted(a.shape[k]):
        along_units(a, k, "unstack", lambda m: m)  # which refuses it
    at: tuple[Any, ...] = (slice(None),) * k
    return tuple(a[(*at, j)] for j in range(int(_number(a.shape[k]))))


def _moveaxis(graph: Graph, x: Any, /, source: Any, destination: Any) -> Node:
    """Record an array with axes moved to other places."""
    a = graph.lift(x)
    froms, tos = ([*v] if isinstance(v, Sequence) else [v] for v in (source, destination))
    froms, tos = ([k + a.ndim if k < 0 else k for k in v] for v in (froms, tos))
    order = [k for k in range(a.ndim) if k not in froms]
    for to, k in sorted(zip(tos, froms, strict=True)):
        order.insert(to, k)
    return graph.permute_dims(a, order)


def _broadcast_arrays(graph: Graph, *arrays: Any) -> tuple[Node, ...]:
    """Record arrays repeated to the shape that they have together."""
    lifted = [graph.lift(a) for a in arrays]
    shape = broadcast_shapes("broadcast_arrays", [a.shape for a in lifted])
    return tuple(graph.broadcast_to(a, shape) for a in lifted)


def _meshgrid(graph: Graph, *arrays: Any, indexing: str = "xy") -> tuple[Node, ...]:
    """Record for two vectors the grids of the numbers of the first and of the second."""
    vectors = [graph.lift(a) for a in arrays]
    if len(vectors) > 2 or any(a.ndim != 1 for a in vectors) or indexing not in ("xy", "ij"):
        raise TraceError(f"meshgrid can be traced of one or two vectors, indexing 'xy' or 'ij'{user_line()}")
    if len(vectors) == 1:
        return (vectors[0],)
    axes = (0, 1) if indexing == "xy" else (1, 0)
    return _broadcast_arrays(graph, *(graph.expand_dims(a, axis=k) for a, k in zip(vectors, axes, strict=True)))


ARRANGING: dict[str, Callable[..., Any]] = {
    "broadcast_arrays": _broadcast_arrays,
    "flip": _flip,
    "meshgrid": _meshgrid,
    "moveaxis": _moveaxis,
    "repeat": _repeat,
    "reshape": _reshape,
    "roll": _roll,
    "tile": _tile,
    "unstack": _unstack,
}


# ---- parts


def _units_at(m: Node, places: Sequence[int]) -> Node:
    """Return the columns of a matrix at these places, in this order."""
    return m.graph.concat([moves.columns(m.graph, m, k, k + 1) for k in places], axis=1)


def _in_one_row(a: Node) -> Node:
    """Return the numbers of a parameter one after the other, row by row, as a vector."""
    a = without(a, [k for k, d in enumerate(a.shape) if _is_single(d)])
    if a.ndim < 2:
        return a if a.ndim else a.graph.expand_dims(a, axis=0)
    return a.graph.concat(_unstack(a.graph, a), axis=0)


def _in_rows(a: Node, sizes: Sequence[int]) -> Node:
    """Return the numbers of a vector in rows, if there are two sizes."""
    if len(sizes) < 2:
        return a
    graph, (rows, width) = a.graph, sizes
    return graph.concat([graph.expand_dims(a[k * width : (k + 1) * width], axis=0) for k in range(rows)], axis=0)


# ---- sizes


def _wanted_shape(a: Node | Grouped, shape: Any) -> Shape:
    """Return the sizes that are asked for, with that in place of -1 which is left."""
    given = tuple(moves.known(n) for n in (shape if isinstance(shape, Sequence) else (shape,)))
    if not all(isinstance(n, (Dim, numbers.Integral)) and not isinstance(n, bool) for n in given):
        raise TraceError(
            f"reshape: a shape is made of whole numbers and of sizes of arrays, got {shown(given)}{user_line()}"
        )
    sizes = [_number(n) if isinstance(n, Dim) else int(n) for n in given]
    own = [_number(d) for d in a.shape]
    records = [d for d in own if isinstance(d, Dim)]
    for dim in (d for d in sizes if isinstance(d, Dim)):
        if not any(dim is d for d in records):
            raise TraceError(f"reshape: {list(a.shape)} has no size {dim}{user_line()}")
        records = [d for d in records if d is not dim]
    counts = [math.prod(n for n in numbers_ if isinstance(n, int) and n != -1) for numbers_ in (own, sizes)]
    free = [k for k, n in enumerate(sizes) if isinstance(n, int) and n == -1]
    if len(free) == 1 and len(records) <= 1 and not (records and counts[0] != counts[1]) and counts[0] % counts[1] == 0:
        sizes[free[0]] = records[0] if records else counts[0] // counts[1]
    elif records and len(free) == 1:
        raise _parts_records(a, given)
    elif free or records or counts[0] != counts[1]:
        raise TraceError(f"reshape: {list(a.shape)} does not fit {list(given)}{user_line()}")
    return tuple(n if isinstance(n, Dim) else a.graph.width(n) for n in sizes)


def _parts_records(a: Node | Grouped, shape: Sequence[Any]) -> TraceError:
    return TraceError(
        f"reshape of {list(a.shape)} to {list(shape)} cannot be traced{user_line()}: it parts records or joins them, "
        "and each is computed by itself. Take parts of the units, such as a[:, :k], and put them together by xp.concat"
    )


def _number(size: Dim | int) -> Dim | int:
    """Return the number of a size, if it has one."""
    return size.size if isinstance(size, Dim) and size.size is not None else size


def _is_single(size: Dim | int) -> bool:
    number = _number(size)
    return isinstance(number, int) and number == 1


def _are_equal(a: Dim | int, b: Dim | int) -> bool:
    first, second = _number(a), _number(b)
    return first is second or (isinstance(first, int) and isinstance(second, int) and first == second)


def _whole(what: str, number: Any) -> int:
    if not isinstance(number, numbers.Integral) or isinstance(number, bool):
        raise TraceError(f"{what} takes whole numbers, known beforehand, got {shown(number)}{user_line()}")
    return int(number)
