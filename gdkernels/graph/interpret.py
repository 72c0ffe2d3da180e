"""Running a graph on any namespace, the recording one included."""

import math
import numbers
import operator
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from gdkernels.errors import InputError
from gdkernels.graph.codes import sum_by_code
from gdkernels.graph.derivative import topological
from gdkernels.graph.namespace import Graph, detach
from gdkernels.graph.nodes import Dim, Node, Recorded
from gdkernels.graph.operations import REAL, SCALAR
from gdkernels.system.cached_property import cached_property

__all__ = ["Step", "check_shapes", "dropping", "interpret", "plain", "run_steps", "steps_of"]

# Arithmetic goes through operators: every namespace lets those mix an array with a Python number.
_OPERATORS: dict[str, Callable[..., Any]] = {
    "negative": operator.neg,
    "abs": abs,
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "pow": operator.pow,
    "greater": operator.gt,
    "greater_equal": operator.ge,
    "less": operator.lt,
    "less_equal": operator.le,
    "equal": operator.eq,
    "not_equal": operator.ne,
    "logical_and": operator.and_,
    "logical_or": operator.or_,
    "bitwise_and": operator.and_,
    "bitwise_or": operator.or_,
    "bitwise_xor": operator.xor,
    "bitwise_left_shift": operator.lshift,
    "bitwise_right_shift": operator.rshift,
}

# Numbers on the host (rates, step counts) stay Python floats: no namespace takes two of them.
_SCALARS: dict[str, Callable[..., Any]] = {
    **{name: getattr(math, name) for name in ("sqrt", "exp", "expm1", "log", "log1p", "tanh", "sin", "cos")},
    "maximum": max,
    "minimum": min,
    "sign": lambda a: (a > 0) - (a < 0),
    "where": lambda condition, a, b: a if condition else b,
}

Values = dict[int, Any]


class Context:
    """The surroundings of a run of a graph: the namespace, the sizes, and an array to make others like.

    Sizes are looked up when they are first asked for: most functions never do.
    """

    def __init__(self, inputs: Sequence[Node], arrays: Sequence[Any], xp: Any) -> None:
        self.xp = xp
        self._inputs, self._arrays = inputs, arrays

    @cached_property
    def sizes(self) -> dict[Dim, Any]:
        return {
            dim: size
            for node, array in zip(self._inputs, self._arrays, strict=True)
            for dim, size in zip(node.shape, getattr(array, "shape", ()), strict=False)
            if isinstance(dim, Dim)
        }

    @property
    def like(self) -> Any:
        """An array of the precision and on the device of the inputs."""
        pairs = zip(self._inputs, self._arrays, strict=True)
        return next(array for node, array in pairs if node.dtype == REAL and hasattr(array, "dtype"))

    def size(self, dim: Dim) -> Any:
        """Return the number that a size stands for; while this is recorded, the size that does there."""
        if dim in self.sizes or dim.size is None:
            return self.sizes[dim]
        return self.xp.width(dim.size) if isinstance(self.xp, Graph) else dim.size

    def shape(self, node: Node) -> tuple[Any, ...]:
        return tuple(self.size(d) if isinstance(d, Dim) else d for d in node.shape)

    def full(self, value: float, shape: tuple[Any, ...] = ()) -> Any:
        """Return an array of one number, with the precision and on the device of the inputs."""
        if isinstance(self.xp, Graph):  # its scalars need no dtype
            return self.xp.broadcast_to(value, shape)
        like = self.like
        return self.xp.full(shape, float(value), dtype=like.dtype, device=getattr(like, "device", None))


def check_shapes(inputs: Iterable[Node], arrays: Iterable[Any]) -> None:
    """Refuse arrays that do not have the dimensions of `inputs`, or disagree on a size: nothing is broadcast."""
    sizes: dict[Dim, Any] = {}
    for node, array in zip(inputs, arrays, strict=True):
        shape = tuple(getattr(array, "shape", ()))
        if len(shape) != node.ndim:
            raise InputError(f"{node.attribute} has to have the shape {list(node.shape)}, got {list(shape)}")
        for dim, size in zip(node.shape, shape, strict=True):
            known = sizes.setdefault(dim, size) if isinstance(dim, Dim) else dim
            # A size of the recording namespace is a symbol, equal to itself alone.
            symbols = isinstance(size, Dim) or isinstance(known, Dim)
            if known is not size and (symbols or known != size):
                raise InputError(
                    f"{node.attribute} of shape {list(shape)} does not fit the others: {dim} is {known}, not {size}"
                )


Step = tuple[Node, Callable[[Context, Values], Any]]
Dropped = tuple[int, ...]  # the values that no step needs any more


def steps_of(outputs: Iterable[Node], known: Iterable[Node] = ()) -> list[Step]:
    """Return how to compute `outputs`, operands first, leaving out what is `known` already."""
    skip = {n.id for n in known}
    return [(node, _step(node)) for node in topological(*outputs) if node.op != "input" and node.id not in skip]


def dropping(steps: list[Step], keep: Collection[int]) -> list[tuple[Step, Dropped]]:
    """Return the steps, each with the numbers of the values, but for those to `keep`, that it is the last to read."""
    last: dict[int, int] = {}
    for at, (node, _) in enumerate(steps):
        last[node.id] = at
        last.update((a.id, at) for a in node.args)
    dropped: list[list[int]] = [[] for _ in steps]
    for k, at in last.items():
        if k not in keep:
            dropped[at].append(k)
    return [(step, tuple(d)) for step, d in zip(steps, dropped, strict=True)]


def run_steps(steps: list[tuple[Step, Dropped]], context: Context, values: Values) -> None:
    """Add to `values`, by node number, what the `steps` compute, and remove what is not needed any more."""
    for (node, step), dropped in steps:
        values[node.id] = step(context, values)
        for k in dropped:
            del values[k]


def interpret(outputs: Iterable[Node], inputs: Mapping[str, Any], *, xp: Any) -> list[Any]:
    """Compute `outputs` with the namespace `xp` from `inputs`, which are named as they were recorded."""
    wanted = list(outputs)
    needed = [n for n in topological(*wanted) if n.op == "input"]
    for node in needed:
        if node.attribute not in inputs:
            raise InputError(f"the graph needs the input {node.attribute!r}; given: {', '.join(inputs)}")
    # A size can come from an array that is not needed itself.
    given = [n for n in wanted[0].graph.nodes if n.op == "input" and n.attribute in inputs] if wanted else []
    arrays = [plain(n, inputs[n.attribute]) for n in given]
    check_shapes(given, arrays)
    context = Context(given, arrays, xp)
    values: Values = {n.id: array for n, array in zip(given, arrays, strict=True)}
    run_steps(dropping(steps_of(wanted), keep={n.id for n in wanted}), context, values)
    return [values[n.id] for n in wanted]


def plain(node: Node, value: Any) -> Any:
    """Return an input as it is computed with: a number of the host as Python's own.

    A NumPy float64 number would promote the float32 arrays that it meets.
    """
    return float(value) if node.dtype == SCALAR and isinstance(value, numbers.Real) else value


def _step(node: Node) -> Callable[[Context, Values], Any]:
    ids = [a.id for a in node.args]
    if node.op in _OPERATORS:
        return partial(_operate, _OPERATORS[node.op], ids)
    if node.dtype == SCALAR and not node.shape and node.op in _SCALARS:
        return partial(_call_scalar, node.op, ids)
    special = _SPECIAL.get(node.op)
    return partial(special, node) if special else partial(_call, node.op, ids)


def _operate(function: Callable[..., Any], ids: list[int], context: Context, values: Values) -> Any:
    return function(*[values[k] for k in ids])


def _call(op: str, ids: list[int], context: Context, values: Values) -> Any:
    return getattr(context.xp, op)(*[values[k] for k in ids])


def _call_scalar(op: str, ids: list[int], context: Context, values: Values) -> Any:
    operands = [values[k] for k in ids]
    recorded = any(isinstance(v, Recorded) for v in operands)
    return getattr(context.xp, op)(*operands) if recorded else _SCALARS[op](*operands)


def _constant(node: Node, context: Context, values: Values) -> Any:
    return node.attribute


def _dim(node: Node, context: Context, values: Values) -> Any:
    size = context.size(node.attribute)
    return size if isinstance(size, Dim) else float(size)


def _where(node: Node, context: Context, values: Values) -> Any:
    condition, a, b = (values[n.id] for n in node.args)
    if isinstance(condition, bool):  # of sizes or the step count: known on the host
        chosen = a if condition else b
        return _spread(chosen, node, context)
    if isinstance(a, float) and isinstance(b, float):  # the standard wants an array among the branches
        a = context.full(a)
    return context.xp.where(condition, a, b)


def _logical_not(node: Node, context: Context, values: Values) -> Any:
    value = values[node.args[0].id]
    return not value if isinstance(value, bool) else context.xp.logical_not(value)


def _reduction(node: Node, context: Context, values: Values) -> Any:
    axes = node.attribute if len(node.attribute) > 1 else node.attribute[0]
    return getattr(context.xp, node.op)(values[node.args[0].id], axis=axes, keepdims=True)


def _transpose(node: Node, context: Context, values: Values) -> Any:
    return context.xp.matrix_transpose(values[node.args[0].id])


def _broadcast_to(node: Node, context: Context, values: Values) -> Any:
    return _spread(values[node.args[0].id], node, context)


def _spread(value: Any, node: Node, context: Context) -> Any:
    if isinstance(value, float):
        return context.full(value, context.shape(node))
    return context.xp.broadcast_to(value, context.shape(node))


def _expand_dims(node: Node, context: Context, values: Values) -> Any:
    return context.xp.expand_dims(values[node.args[0].id], axis=node.attribute)


def _squeeze(node: Node, context: Context, values: Values) -> Any:
    return context.xp.squeeze(values[node.args[0].id], axis=node.attribute)


def _to_int(node: Node, context: Context, values: Values) -> Any:
    return context.xp.astype(values[node.args[0].id], context.xp.int32)


def _to_real(node: Node, context: Context, values: Values) -> Any:
    return context.xp.astype(values[node.args[0].id], context.like.dtype)


def _columns(node: Node, context: Context, values: Values) -> Any:
    value = values[node.args[0].id]
    return value[:, node.attribute] if node.op == "column" else value[:, slice(*node.attribute)]


def _concat(node: Node, context: Context, values: Values) -> Any:
    return context.xp.concat([values[a.id] for a in node.args], axis=1)


def _take(node: Node, context: Context, values: Values) -> Any:
    table, codes = (values[a.id] for a in node.args)
    return context.xp.take(table, codes, axis=0)


def _row_outer(node: Node, context: Context, values: Values) -> Any:
    a, d = (values[n.id] for n in node.args)
    if isinstance(context.xp, Graph):
        return context.xp.row_outer(a, d)
    products = context.xp.expand_dims(a, axis=2) * context.xp.expand_dims(d, axis=1)
    return context.xp.reshape(products, (a.shape[0], a.shape[1] * d.shape[1]))


def _row_product(node: Node, context: Context, values: Values) -> Any:
    a, b = (values[operand.id] for operand in node.args)
    n, k, m, *turned = node.attribute
    xp = context.xp
    if isinstance(xp, Graph):
        return xp.row_product(a, b, (n, k, m), tuple(turned))
    left, right = (
        xp.matrix_transpose(xp.reshape(v, (-1, *shape[::-1]))) if t else xp.reshape(v, (-1, *shape))
        for v, t, shape in zip((a, b), turned, ((n, k), (k, m)), strict=True)
    )
    return xp.reshape(xp.matmul(left, right), (a.shape[0], n * m))


def _add_rows(node: Node, context: Context, values: Values) -> Any:
    codes, rows = (values[a.id] for a in node.args)
    shape = context.shape(node)
    if isinstance(context.xp, Graph):
        return context.xp.add_rows(codes, rows, shape)
    return sum_by_code(codes, rows, shape[0], xp=context.xp)


def _detach(node: Node, context: Context, values: Values) -> Any:
    return detach(values[node.args[0].id])


_SPECIAL: dict[str, Callable[[Node, Context, Values], Any]] = {
    "logical_not": _logical_not,
    "constant": _constant,
    "dim": _dim,
    "where": _where,
    "sum": _reduction,
    "max": _reduction,
    "min": _reduction,
    "transpose": _transpose,
    "broadcast_to": _broadcast_to,
    "expand_dims": _expand_dims,
    "squeeze": _squeeze,
    "detach": _detach,
    "to_int": _to_int,
    "to_real": _to_real,
    "column": _columns,
    "columns": _columns,
    "concat": _concat,
    "take": _take,
    "add_rows": _add_rows,
    "row_outer": _row_outer,
    "row_product": _row_product,
}
