"""Recording what an index takes of an array: rows, columns, single numbers, and new axes.

All of it is made of columns: rows are columns of the transpose, and a vector is a matrix of one row.
"""

from __future__ import annotations

import numbers
from typing import Any

from gdkernels.errors import TraceError
from gdkernels.graph import moves
from gdkernels.graph.nodes import Node
from gdkernels.graph.source import user_line

__all__ = ["indexed"]

_WHOLE = slice(None)


def indexed(a: Node, key: Any) -> Node:
    """Return ``a[key]``.

    Raises
    ------
    TraceError
        For what cannot be recorded: records by their number, and arrays as indices.
    """
    keys = tuple(map(_with_numbers, key if isinstance(key, tuple) else (key,)))
    places = _of_axes(keys, a)
    if places is None:
        shown = ", ".join("an array" if isinstance(k, Node) else _text(k) for k in keys)
        raise TraceError(
            f"indexing an array of {a.ndim} dimensions with [{shown}] cannot be traced{user_line()}; only new axes "
            "such as a[:, None], columns a[:, 2] and a[:, 2:5], and rows of parameters W[2] and W[2:5] can: use "
            "xp.where to select"
        )
    result, axis = a, 0
    for k in places:
        if k is None:
            result = a.graph.expand_dims(result, axis=axis)
            axis += 1
        elif isinstance(k, slice):
            result = result if k == _WHOLE else _stretch(result, axis, k)
            axis += 1
        else:
            result = _single(result, axis, k)
    return result


def _of_axes(keys: tuple[Any, ...], a: Node) -> list[Any] | None:
    """Return an index for each axis, None for each new one; or None if they cannot be recorded."""
    ellipses = [n for n, k in enumerate(keys) if k is ...]
    taken = sum(k is not None and k is not ... for k in keys)
    if len(ellipses) > 1 or taken > a.ndim or not all(map(_is_known, keys)):
        return None
    rest = [_WHOLE] * (a.ndim - taken)
    at = ellipses[0] if ellipses else len(keys)
    places = [*keys[:at], *rest, *keys[at + 1 :]]
    rows = next((k for k in places if k is not None), _WHOLE)
    return places if rows == _WHOLE or moves.is_counted(a.shape[0]) else None


def _with_numbers(key: Any) -> Any:
    """Return an index with numbers in place of sizes whose numbers are known, as in W[:a.shape[1]]."""
    if isinstance(key, slice):
        return slice(*map(_with_numbers, (key.start, key.stop, key.step)))
    return moves.known(key)


def _is_known(key: Any) -> bool:
    if isinstance(key, slice):
        return all(k is None or isinstance(k, numbers.Integral) for k in (key.start, key.stop, key.step))
    return key is None or key is ... or (isinstance(key, numbers.Integral) and not isinstance(key, bool))


def _stretch(a: Node, axis: int, key: slice) -> Node:
    graph = a.graph
    if a.ndim == 1:
        return graph.squeeze(_columns(graph.expand_dims(a, axis=0), key), 0)
    return _columns(a, key) if axis == a.ndim - 1 else _columns(a.T, key).T


def _columns(a: Node, key: slice) -> Node:
    if key.step in (None, 1):
        return moves.columns(a.graph, a, key.start, key.stop)
    places = range(*key.indices(moves.units(a)))
    if not places:
        raise TraceError(f"there are no columns at [{_text(key)}] among {moves.units(a)}{user_line()}")
    return a.graph.concat([moves.columns(a.graph, a, k, k + 1) for k in places], axis=1)


def _single(a: Node, axis: int, key: Any) -> Node:
    graph, k = a.graph, int(key)
    if a.ndim == 1:
        return graph.squeeze(moves.column(graph, graph.expand_dims(a, axis=0), k), 0)
    return moves.column(graph, a if axis == a.ndim - 1 else a.T, k)


def _text(key: Any) -> str:
    if isinstance(key, slice):
        ends = [key.start, key.stop, *([] if key.step is None else [key.step])]
        return ":".join("" if part is None else _text(part) for part in ends)
    return "..." if key is ... else repr(key)
