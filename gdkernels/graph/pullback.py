"""Derivatives of ordinary functions: trace once, differentiate, interpret with any namespace."""

import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from gdkernels.errors import InputError, TraceError
from gdkernels.graph.derivative import topological, vjp
from gdkernels.graph.interpret import Context, check_shapes, plain, run_steps, steps_of
from gdkernels.graph.namespace import Graph
from gdkernels.graph.nodes import Node, Shape, same_shape
from gdkernels.graph.operations import BOOL, REAL, SCALAR

__all__ = ["returned", "trace", "value_and_derivative", "value_and_pullback"]

Pullback = Callable[[Any], Any]


def returned(value: Any, f: Callable[..., Any], shape: Shape | None = None, rule: str = "") -> Node:
    """Return `value`, which `f` returned while it was traced, if it is an array of numbers of this shape.

    Raises
    ------
    TraceError
        If it is not; the message names `f`, what it returned, and the `rule` that it has to follow.
    """
    if not isinstance(value, Node):
        raise TraceError(f"{_name(f)} returned {type(value).__name__}; it has to return an array made with xp")
    if value.dtype == BOOL:
        raise TraceError(
            f"{_name(f)} returned a condition; it has to return numbers: use xp.where(condition, 1.0, 0.0)"
        )
    if shape is not None and not same_shape(value.shape, shape):
        raise TraceError(f"{_name(f)} returned the shape {list(value.shape)}, not {list(shape)}: {rule}")
    return value


def trace(
    f: Callable[..., Any], ranks: tuple[int, ...], *, elementwise: bool = False
) -> tuple[Graph, list[Node], Node]:
    """Record ``f(*arrays, xp=graph)`` on inputs of these ranks.

    Inputs of one rank share their sizes, as the output and the target of a network do.

    Raises
    ------
    TraceError
        If `f` uses an operation that the tracer does not know, branches on an array, or returns something else
        than an array, of the first one's shape if it is to be `elementwise`; the message names the operation and the
        line.
    """
    if max(ranks) > 2:
        raise InputError(
            f"{_name(f)} is differentiated for [records, units], not for arrays of {max(ranks)} dimensions"
        )
    graph = Graph()
    dims = [graph.dim("B"), graph.dim("n")]
    inputs = [graph.input(f"a{k}", tuple(dims[:rank])) for k, rank in enumerate(ranks)]
    rule = "an activation returns a number for each unit of each record"
    output = returned(f(*inputs, xp=graph), f, inputs[0].shape if elementwise else None, rule)
    return graph, inputs, output


class _Differentiated:
    """`f` and its pull-back on one graph, as two lists of steps; the second uses what the first computed."""

    def __init__(self, f: Callable[..., Any], ranks: tuple[int, ...], elementwise: bool) -> None:
        graph, self.inputs, self.output = trace(f, ranks, elementwise=elementwise)
        self.cotangent = graph.input("cotangent", self.output.shape, REAL if self.output.ndim else SCALAR)
        self.result = vjp(self.output, self.inputs[0], self.cotangent)
        forward = topological(self.output)
        self.forward = steps_of([self.output])
        self.backward = steps_of([self.result], known=forward)
        used = {a.id for node, _ in self.backward for a in node.args} | {self.result.id}
        # Kept between the two: no intermediate that the way back does not read.
        self.kept = tuple(n.id for n in forward if n.id in used)

    def __call__(self, arrays: tuple[Any, ...], xp: Any) -> tuple[Any, Pullback]:
        if len(arrays) > 1:
            check_shapes(self.inputs, arrays)
        context = Context(self.inputs, arrays, xp)
        values = {node.id: array for node, array in zip(self.inputs, arrays, strict=True)}
        run_steps(self.forward, context, values)
        value = values[self.output.id]
        kept = {k: values[k] for k in self.kept}

        def pull_back(cotangent: Any) -> Any:
            available = {**kept, self.cotangent.id: plain(self.cotangent, cotangent)}
            run_steps(self.backward, context, available)
            return available[self.result.id]

        return value, pull_back


@lru_cache(maxsize=256)
def _differentiated(f: Callable[..., Any], ranks: tuple[int, ...], elementwise: bool) -> _Differentiated:
    return _Differentiated(f, ranks, elementwise)


def value_and_pullback(f: Callable[..., Any], *, elementwise: bool = False) -> Callable[..., tuple[Any, Pullback]]:
    """Return a function that computes `f` and, on demand, its vector–Jacobian product.

    ``value, pull_back = value_and_pullback(f)(a, *others, xp=xp)``; ``pull_back(cotangent)`` is the derivative of what
    is minimised with respect to ``a``, given that with respect to the value. `f` is traced once for all namespaces, so
    what it closes over is read at that time; both share their work.

    Parameters
    ----------
    f
        A function ``f(a, *others, xp)`` of arrays with one or two dimensions: records, then units.
    elementwise
        Whether `f` has to return the shape of ``a``, as an activation does.
    """

    def run(*arrays: Any, xp: Any) -> tuple[Any, Pullback]:
        ranks = tuple(a.ndim for a in arrays)
        try:
            hash(f)
        except TypeError:
            return _Differentiated(f, ranks, elementwise)(arrays, xp)
        return _differentiated(f, ranks, elementwise)(arrays, xp)

    return run


def value_and_derivative(f: Callable[..., Any]) -> Callable[..., tuple[Any, Any]]:
    """Return a function that computes an elementwise `f` and its derivative with respect to the first argument.

    Both have the shape of the argument: ``value, slope = value_and_derivative(f)(z, xp=xp)``.
    """

    def run(*arrays: Any, xp: Any) -> tuple[Any, Any]:
        value, pull_back = value_and_pullback(f, elementwise=True)(*arrays, xp=xp)
        return value, pull_back(xp.ones_like(value))

    return run


def _name(f: Callable[..., Any]) -> str:
    name = getattr(f, "__name__", type(f).__name__)
    function = f if inspect.isfunction(f) else getattr(type(f), "__call__", None)  # noqa: B004
    if not inspect.isfunction(function):
        return str(name)
    return f"{name} ({function.__code__.co_filename}:{function.__code__.co_firstlineno})"
