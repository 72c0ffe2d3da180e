"""Derivatives of ordinary functions: trace once, differentiate, interpret with any namespace."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from gdkernels.errors import InputError, TraceError
from gdkernels.graph.derivative import topological, vjps
from gdkernels.graph.interpret import Context, check_shapes, dropping, plain, run_steps, steps_of
from gdkernels.graph.namespace import Graph
from gdkernels.graph.nodes import Dim, Node, Shape, same_shape
from gdkernels.graph.operations import BOOL, INT, REAL, SCALAR
from gdkernels.graph.remembered import remembered

__all__ = [
    "returned",
    "trace",
    "value_and_derivative",
    "value_and_pullback",
    "value_and_pullbacks",
]

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
    return _trace(f, tuple(("B", "n")[:rank] for rank in ranks), elementwise)


# For each input its sizes: 1, a name, or a name with the number. Sizes that are equal are one.
Pattern = tuple[tuple[Any, ...], ...]


def _trace(
    f: Callable[..., Any], pattern: Pattern, elementwise: bool, integers: int = 0
) -> tuple[Graph, list[Node], Node]:
    graph = Graph()
    dims: dict[Any, Dim | int] = {1: 1}
    for shape in pattern:
        for size in shape:
            if size not in dims:
                dims[size] = graph.dim(size) if isinstance(size, str) else graph.dim(*size)
    reals = len(pattern) - integers
    inputs = [
        graph.input(f"a{k}", tuple(dims[size] for size in shape), REAL if k < reals else INT)
        for k, shape in enumerate(pattern)
    ]
    rule = "an activation returns a number for each unit of each record"
    try:
        given = f(*inputs, xp=graph)
    except TypeError as error:  # functions of an extension have no signature to be asked for
        if "keyword argument 'xp'" not in str(error):
            raise
        raise TraceError(f"{_name(f)} is no function of arrays and xp: {error}") from None
    output = returned(given, f, inputs[0].shape if elementwise else None, rule)
    return graph, inputs, output


def _pattern(own: Iterable[Shape], of_records: Iterable[Shape]) -> Pattern:
    """Return the names of the sizes of arrays: B for their records, a size of 1 as it is.

    Other numbers that are equal have one name. Sizes of the recording namespace are symbols, equal to themselves alone.

    Parameters
    ----------
    of_records
        The shapes, but for the records, of arrays that have a row for each.
    """
    symbols: dict[str, Dim] = {}

    def name(size: Any) -> Any:
        if not isinstance(size, Dim):
            return 1 if size == 1 else (f"n{size}", int(size))
        told = size.name
        while symbols.setdefault(told, size) is not size:
            told += "'"
        return told, size.size

    named = tuple(tuple(map(name, shape)) for shape in own)
    return named + tuple(("B", *map(name, shape)) for shape in of_records)


class _Differentiated:
    """`f` and its pull-back on one graph, as two lists of steps; the second uses what the first computed."""

    def __init__(self, f: Callable[..., Any], pattern: Pattern, elementwise: bool, wrt: int, integers: int = 0) -> None:
        graph, self.inputs, self.output = _trace(f, pattern, elementwise, integers)
        self.cotangent = graph.input("cotangent", self.output.shape, REAL if self.output.ndim else SCALAR)
        self.results = vjps(self.output, self.inputs[:wrt], self.cotangent)
        forward = topological(self.output)
        backward = steps_of(self.results, known=forward)
        used = {a.id for node, _ in backward for a in node.args} | {n.id for n in self.results}
        # Kept between the two: no intermediate that the way back does not read.
        self.kept = tuple(n.id for n in forward if n.id in used)
        self.forward = dropping(steps_of([self.output]), keep={self.output.id, *self.kept})
        self.backward = dropping(backward, keep={n.id for n in self.results})

    def __call__(self, arrays: tuple[Any, ...], xp: Any) -> tuple[Any, Callable[[Any], list[Any]]]:
        context = Context(self.inputs, arrays, xp)
        values = {node.id: array for node, array in zip(self.inputs, arrays, strict=True)}
        run_steps(self.forward, context, values)
        value = values[self.output.id]
        kept = {k: values[k] for k in self.kept}

        def pull_back(cotangent: Any) -> list[Any]:
            available = {**kept, self.cotangent.id: plain(self.cotangent, cotangent)}
            run_steps(self.backward, context, available)
            return [available[n.id] for n in self.results]

        return value, pull_back


@remembered(256)
def _differentiated(
    f: Callable[..., Any], pattern: Pattern, elementwise: bool, wrt: int, integers: int = 0
) -> _Differentiated:
    return _Differentiated(f, pattern, elementwise, wrt, integers)


@remembered(256)
def _differentiated_at(
    f: Callable[..., Any], own: tuple[Shape, ...], of_records: tuple[Shape, ...], wrt: int, integers: int
) -> _Differentiated:
    return _differentiated(f, _pattern(own, of_records), False, wrt, integers)


def value_and_pullbacks(
    f: Callable[..., Any], wrt: int, per_record: int, integers: int = 0
) -> Callable[..., tuple[Any, Callable[[Any], list[Any]]]]:
    """Return a function that computes `f` and, on demand, its vector–Jacobian products.

    It is `value_and_pullback` for several arrays: ``pull_back(cotangent)`` returns the derivatives with respect to the
    first `wrt` of them.

    Parameters
    ----------
    per_record
        How many arrays, the last ones, have a row for each record. Other sizes that are equal numbers are one size.
    integers
        How many arrays, the last of all, hold 32-bit integers.
    """

    def run(*arrays: Any, xp: Any) -> tuple[Any, Callable[[Any], list[Any]]]:
        count = len(arrays) - per_record
        own, of_records = tuple([a.shape for a in arrays[:count]]), tuple([a.shape[1:] for a in arrays[count:]])
        if isinstance(xp, Graph):  # its sizes are symbols of this recording
            traced = _differentiated(f, _pattern(own, of_records), False, wrt, integers)
        else:
            traced = _differentiated_at(f, own, of_records, wrt, integers)
        check_shapes(traced.inputs[count:], arrays[count:])
        return traced(arrays, xp)

    return run


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
        if max(ranks) > 2:
            trace(f, ranks)  # which refuses them
        pattern = tuple(("B", "n")[:rank] for rank in ranks)
        traced = _differentiated(f, pattern, elementwise, 1)
        if len(arrays) > 1:
            check_shapes(traced.inputs, arrays)
        value, pull_back = traced(arrays, xp)
        return value, lambda cotangent: pull_back(cotangent)[0]

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
