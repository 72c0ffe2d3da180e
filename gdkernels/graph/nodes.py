"""The graph *is* a namespace: calling its functions records nodes instead of computing.

A `Graph` stands in for `xp` while a definition runs once on `Node` inputs. What comes out is the definition as data:
equal nodes are one node, sizes are symbols (`Dim`) compared by identity, and numbers that belong to the program rather
than to an array (constants, sizes, the learning rate, the step count) stay float64 scalars until they meet an array.
"""

from __future__ import annotations

import math
import numbers
import operator
from collections.abc import Callable, Sequence
from typing import Any

from gdkernels.errors import TraceError
from gdkernels.graph.source import user_line

__all__ = [
    "COMPARISONS",
    "ELEMENTWISE",
    "REAL",
    "Dim",
    "Graph",
    "Node",
    "Shape",
    "broadcast_shapes",
    "detach",
    "same_shape",
]

_PYTHON_COMPARISONS = {
    "greater": "gt",
    "greater_equal": "ge",
    "less": "lt",
    "less_equal": "le",
    "equal": "eq",
    "not_equal": "ne",
}
COMPARISONS = frozenset(_PYTHON_COMPARISONS)
_LOGICAL = frozenset({"logical_and", "logical_or", "logical_not"})

# What a backend has to know, with the number of operands. Everything else that the tracer accepts is made of these.
ELEMENTWISE: dict[str, int] = (
    dict.fromkeys(("negative", "abs", "sign", "sqrt", "exp", "expm1", "log", "log1p", "tanh", "sin", "cos"), 1)
    | dict.fromkeys(("add", "subtract", "multiply", "divide", "pow", "maximum", "minimum"), 2)
    | dict.fromkeys(sorted(COMPARISONS), 2)
    | {"logical_and": 2, "logical_or": 2, "logical_not": 1, "where": 3}
)

REAL = "real"  # an array of the program's precision
BOOL = "bool"
SCALAR = "scalar"  # a float64 number on the host: cast once, where it meets an array

_FOLD: dict[str, Callable[..., float]] = {
    "negative": lambda a: -a,
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / b,
    "pow": math.pow,
    "sqrt": math.sqrt,
    "exp": math.exp,
    "log": math.log,
    "tanh": math.tanh,
    **{name: getattr(operator, short) for name, short in _PYTHON_COMPARISONS.items()},
}


_OPERATORS = frozenset({"negative", "abs", "add", "subtract", "multiply", "divide", "pow"}) | COMPARISONS
_NUMPY_NAMES = {"true_divide": "divide", "power": "pow", "absolute": "abs"}


class Recorded:
    """Operators shared by nodes and sizes: each records one operation, or says why it cannot."""

    __slots__ = ()
    graph: Graph

    def __array_ufunc__(self, ufunc: Any, method: str, *operands: Any, **options: Any) -> Node:
        # Reached by operators between a NumPy value and us, which are ours to record, and by calls of np.tanh and such.
        name = _NUMPY_NAMES.get(ufunc.__name__, ufunc.__name__)
        if method == "__call__" and name in _OPERATORS and not options:
            return self.graph.apply(name, *operands)
        raise TraceError(_not_namespace(ufunc.__name__, name))

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Node:
        raise TraceError(_not_namespace(function.__name__, function.__name__))

    def __array__(self, *args: Any, **options: Any) -> Any:
        raise TraceError(f"an array (or a size) cannot become a NumPy array while it is traced{user_line()}; use xp")

    def __add__(self, other: Any) -> Node:
        return self.graph.apply("add", self, other)

    def __radd__(self, other: Any) -> Node:
        return self.graph.apply("add", other, self)

    def __sub__(self, other: Any) -> Node:
        return self.graph.apply("subtract", self, other)

    def __rsub__(self, other: Any) -> Node:
        return self.graph.apply("subtract", other, self)

    def __mul__(self, other: Any) -> Node:
        return self.graph.apply("multiply", self, other)

    def __rmul__(self, other: Any) -> Node:
        return self.graph.apply("multiply", other, self)

    def __truediv__(self, other: Any) -> Node:
        return self.graph.apply("divide", self, other)

    def __rtruediv__(self, other: Any) -> Node:
        return self.graph.apply("divide", other, self)

    def __pow__(self, other: Any) -> Node:
        return self.graph.apply("pow", self, other)

    def __rpow__(self, other: Any) -> Node:
        return self.graph.apply("pow", other, self)

    def __neg__(self) -> Node:
        return self.graph.apply("negative", self)

    def __gt__(self, other: Any) -> Node:
        return self.graph.apply("greater", self, other)

    def __ge__(self, other: Any) -> Node:
        return self.graph.apply("greater_equal", self, other)

    def __lt__(self, other: Any) -> Node:
        return self.graph.apply("less", self, other)

    def __le__(self, other: Any) -> Node:
        return self.graph.apply("less_equal", self, other)

    def __bool__(self) -> bool:
        raise TraceError(
            f"an array (or a size) has no value while it is traced, so Python cannot branch on it{user_line()}; "
            "use xp.where(condition, a, b)"
        )

    def _no_number(self) -> Any:
        raise TraceError(
            f"an array (or a size) cannot become a Python number while it is traced{user_line()}; "
            "compute with it as it is, and use xp.exp and such rather than math.exp"
        )

    __int__ = __float__ = __index__ = __complex__ = __round__ = __trunc__ = __floor__ = __ceil__ = _no_number

    def _no_remainder(self, other: Any) -> Any:
        raise TraceError(f"// , % and divmod cannot be traced{user_line()}; use / on arrays")

    __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __divmod__ = __rdivmod__ = _no_remainder


class Dim(Recorded):
    """A size that stays a symbol: usable as a scalar (``1 / x.shape[0]``), equal only to itself."""

    __slots__ = ("graph", "name")

    def __init__(self, name: str, graph: Graph) -> None:
        self.name = name
        self.graph = graph

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Dim):
            return self is other
        raise TraceError(
            f"the size {self.name} is a symbol while it is traced and cannot be compared with {other!r}{user_line()}; "
            "make the choice outside of the function"
        )

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        return self.name


Shape = tuple[Dim | int, ...]  # an integer is always 1: an axis that was kept or added


class Node(Recorded):
    """One recorded operation: its name, operands, attribute, shape and kind of value."""

    __slots__ = ("args", "attribute", "dtype", "graph", "id", "op", "shape")

    def __init__(self, graph: Graph, op: str, args: tuple[Node, ...], attribute: Any, shape: Shape, dtype: str) -> None:
        self.graph, self.op, self.args, self.attribute = graph, op, args, attribute
        self.shape, self.dtype = shape, dtype
        self.id = len(graph.nodes)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def T(self) -> Node:  # noqa: N802 (the standard's name)
        return self.graph.matrix_transpose(self)

    mT = T  # noqa: N815 (the standard's name)

    def __eq__(self, other: object) -> Node:  # type: ignore[override]
        return self.graph.apply("equal", self, other)

    def __ne__(self, other: object) -> Node:  # type: ignore[override]
        return self.graph.apply("not_equal", self, other)

    def __hash__(self) -> int:
        return id(self)

    def __abs__(self) -> Node:
        return self.graph.apply("abs", self)

    def __and__(self, other: Any) -> Node:
        return self.graph.apply("logical_and", self, other)

    def __or__(self, other: Any) -> Node:
        return self.graph.apply("logical_or", self, other)

    __rand__, __ror__ = __and__, __or__

    def __invert__(self) -> Node:
        return self.graph.apply("logical_not", self)

    def __matmul__(self, other: Node) -> Node:
        return self.graph.matmul(self, other)

    def __getitem__(self, key: Any) -> Node:
        keys = key if isinstance(key, tuple) else (key,)
        whole = [k is None or k is ... or (isinstance(k, slice) and k == slice(None)) for k in keys]
        taken = sum(k is not None and k is not ... for k in keys)
        ellipses = sum(k is ... for k in keys)
        if not all(whole) or taken > self.ndim or ellipses > 1:
            raise TraceError(
                f"indexing an array of {self.ndim} dimensions with [{_key_text(keys)}] cannot be traced{user_line()}; "
                "only new axes can, such as a[:, None]: use xp.where and sums over an axis to select"
            )
        result, axis = self, 0
        for k in keys:
            if k is None:
                result = self.graph.expand_dims(result, axis=axis)
            axis += self.ndim - taken if k is ... else 1
        return result

    def __setitem__(self, key: Any, value: Any) -> None:
        raise TraceError(f"an array cannot be changed in place while it is traced{user_line()}; use xp.where")

    def __iter__(self) -> Any:
        raise TraceError(
            f"an array cannot be iterated over while it is traced{user_line()}; "
            "compute with the whole array: xp.sum(a, axis=-1) is the sum over the units of each record"
        )

    def __contains__(self, value: Any) -> bool:
        return bool(self)  # which says what to do instead

    def __len__(self) -> int:
        raise TraceError(f"an array has no length while it is traced{user_line()}; a.shape[0] is the size B")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        use = f"use xp.{name}(a)" if name in ELEMENTWISE or name in _COMPOSED else "use functions of xp"
        raise UnknownOperationError(f"an array has no .{name} while it is traced{user_line()}; {use}")

    def __repr__(self) -> str:
        operands = ", ".join(f"%{a.id}" for a in self.args)
        attribute = "" if self.attribute is None else f" {self.attribute!r}"
        return f"%{self.id} = {self.op}({operands}){attribute} {list(self.shape)}"


class Graph:
    """A recording namespace and the nodes that it recorded, operands before their users."""

    pi, e, inf, nan = math.pi, math.e, math.inf, math.nan

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self._known: dict[tuple[Any, ...], Node] = {}

    # ---- making nodes

    def dim(self, name: str) -> Dim:
        return Dim(name, self)

    def input(self, name: str, shape: Shape = (), dtype: str = REAL) -> Node:
        """Record an input; a name stands for one input."""
        node = self._node("input", (), name, shape, dtype)
        if not same_shape(node.shape, shape) or node.dtype != dtype:
            raise TraceError(f"there is an input {name!r} already, of shape {list(node.shape)}")
        return node

    def lift(self, value: Any) -> Node:
        """Return `value` as a node of this graph: a node, a size, or a Python number."""
        if isinstance(value, Node):
            if value.graph is not self:
                raise TraceError(f"an array of another trace cannot enter this one{user_line()}")
            return value
        if isinstance(value, Dim):
            return self._node("dim", (), value, (), SCALAR)
        if isinstance(value, bool):
            return self._node("constant", (), value, (), BOOL)
        if isinstance(value, numbers.Real):  # also a NumPy number, which is no array
            number = float(value)
            return self._node("constant", (), number, (), SCALAR, key=("constant", number.hex()))
        raise TraceError(
            f"a value of type {type(value).__module__}.{type(value).__name__} cannot enter a trace{user_line()}; "
            "only what the function is given, and numbers, can"
        )

    def _node(
        self,
        op: str,
        args: tuple[Node, ...],
        attribute: Any,
        shape: Shape,
        dtype: str,
        key: tuple[Any, ...] | None = None,
    ) -> Node:
        # Shapes follow from the operands, except where the operation carries its own.
        key = key or (op, tuple(a.id for a in args), attribute, shape if op == "broadcast_to" else None)
        node = self._known.get(key)
        if node is None:
            node = Node(self, op, args, attribute, shape, dtype)
            self.nodes.append(node)
            self._known[key] = node
        return node

    def __getattr__(self, name: str) -> Callable[..., Node]:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in ELEMENTWISE:

            def record(*args: Any) -> Node:
                return self.apply(name, *args)

            return record
        raise UnknownOperationError(
            f"xp.{name} is not an operation that can be traced{user_line()}; those are "
            f"{', '.join(sorted({*ELEMENTWISE, *_COMPOSED}))}, and the operators"
        )

    def apply(self, op: str, *values: Any) -> Node:
        """Record the elementwise operation `op`, simplified where the value stays the same to the bit.

        Products with constants are gathered only where a power of two takes part: those are exact.
        """
        if len(values) != ELEMENTWISE[op]:
            raise TraceError(f"xp.{op} takes {ELEMENTWISE[op]} operands, got {len(values)}{user_line()}")
        args = tuple(self.lift(v) for v in values)
        _check_kinds(op, args)
        shape = broadcast_shapes(op, [a.shape for a in args])
        # An operation on broadcast operands is done before broadcasting.
        if any(a.op == "broadcast_to" for a in args):
            inner = self.apply(op, *(a.args[0] if a.op == "broadcast_to" else a for a in args))
            return self.broadcast_to(inner, shape)
        simple = self._simplified(op, args)
        if simple is not None:
            return self.broadcast_to(simple, shape)
        if op in COMPARISONS or op in _LOGICAL:
            dtype = BOOL
        else:
            operands = args[1:] if op == "where" else args
            dtype = SCALAR if all(a.dtype == SCALAR for a in args) else REAL
            if op == "where" and all(a.dtype == BOOL for a in operands):
                dtype = BOOL
        return self._node(op, args, None, shape, dtype)

    def _simplified(self, op: str, args: tuple[Node, ...]) -> Node | None:
        numbers = [a.attribute if a.op == "constant" else None for a in args]
        if op in _FOLD and all(n is not None for n in numbers):
            try:
                return self.lift(_FOLD[op](*numbers))
            except (ValueError, ZeroDivisionError, OverflowError):
                return None  # left to the namespace, which has infinities and NaN
        if op == "negative" and args[0].op == "negative":
            return args[0].args[0]
        if op == "where":
            chosen = args[1] if numbers[0] or args[1] is args[2] else args[2]
            return chosen if numbers[0] is not None or args[1] is args[2] else None
        if op == "logical_not":
            return None if numbers[0] is None else self.lift(not numbers[0])
        if len(args) != 2:
            return None
        a, b = args
        if op in {"logical_and", "logical_or"}:
            settled = op == "logical_or"  # true or anything is true, false and anything is false
            for number, other in ((numbers[0], b), (numbers[1], a)):
                if number is not None:
                    return self.lift(settled) if number == settled else other
        if op == "add":
            # Only -0 leaves every number as it is: 0 + (-0) is 0.
            return b if _is_zero(numbers[0], -1.0) else a if _is_zero(numbers[1], -1.0) else None
        if op == "subtract":
            return a if _is_zero(numbers[1], 1.0) else None
        if op == "divide":
            return a if numbers[1] == 1 else None
        if op == "pow":
            if numbers[1] == 0:
                return self.lift(1.0)
            return a if numbers[1] == 1 else self.apply("multiply", a, a) if numbers[1] == 2 else None
        if op == "multiply":
            if numbers[0] == 1 or numbers[1] == 1:
                return b if numbers[0] == 1 else a
            if (b.dtype == SCALAR and a.dtype != SCALAR) or (numbers[1] is not None and numbers[0] is None):
                return self.apply("multiply", b, a)  # constants, then scalars, first: one form for one value
            if a.dtype == SCALAR and b.op == "multiply" and b.args[0].dtype == SCALAR:
                inner = b.args[0].attribute if b.args[0].op == "constant" else None
                if _is_power_of_two(numbers[0]) or _is_power_of_two(inner):
                    return self.apply("multiply", self.apply("multiply", a, b.args[0]), b.args[1])
        return None

    # ---- the rest of the namespace

    def asarray(self, value: Any) -> Node:
        return self.lift(value)

    def astype(self, a: Any, dtype: Any) -> Node:
        node = self.lift(a)
        if dtype != REAL:
            raise TraceError(f"xp.astype to {dtype!r} cannot be traced{user_line()}; only to the dtype of an operand")
        return self.apply("where", node, 1.0, 0.0) if node.dtype == BOOL else node

    def full_like(self, a: Node, value: float) -> Node:
        return self.broadcast_to(self.lift(value), a.shape)

    def zeros_like(self, a: Node) -> Node:
        return self.full_like(a, 0.0)

    def ones_like(self, a: Node) -> Node:
        return self.full_like(a, 1.0)

    def square(self, a: Any) -> Node:
        return self.apply("multiply", a, a)

    def reciprocal(self, a: Any) -> Node:
        return self.apply("divide", 1.0, a)

    def clip(self, a: Any, min: Any = None, max: Any = None) -> Node:
        lower = self.lift(a) if min is None else self.apply("maximum", a, min)
        return lower if max is None else self.apply("minimum", lower, max)

    def logaddexp(self, a: Any, b: Any) -> Node:
        # Made of parts whose slopes are exact at a tie and at both infinities, and which share exp with the value.
        a, b = self.lift(a), self.lift(b)
        gap = self.apply("subtract", a, b)
        if not any(n.op == "constant" and math.isfinite(n.attribute) for n in (a, b)):
            tie = self.apply("equal", a, b)  # of infinities too, whose difference is NaN
            gap = self.apply("where", tie, 0.0, a) - self.apply("where", tie, 0.0, b)
        return self.apply("maximum", a, b) + self.apply("log1p", self.apply("exp", -self.apply("abs", gap)))

    def matmul(self, a: Node, b: Node) -> Node:
        a, b = self.lift(a), self.lift(b)
        if a.ndim != 2 or b.ndim != 2 or not _same_size(a.shape[1], b.shape[0]):
            raise TraceError(f"matmul: shapes {list(a.shape)} and {list(b.shape)} do not fit{user_line()}")
        return self._node("matmul", (a, b), None, (a.shape[0], b.shape[1]), REAL)

    def matrix_transpose(self, a: Node) -> Node:
        if a.ndim != 2:
            raise TraceError(f"a transpose needs two dimensions, got {list(a.shape)}{user_line()}")
        if a.op == "transpose":
            return a.args[0]
        return self._node("transpose", (a,), None, a.shape[::-1], a.dtype)

    def permute_dims(self, a: Node, axes: Sequence[int]) -> Node:
        order = [k + a.ndim if k < 0 else k for k in axes]
        if sorted(order) != list(range(a.ndim)):
            raise TraceError(f"permute_dims: axes {tuple(axes)} do not fit {list(a.shape)}{user_line()}")
        return a if order == sorted(order) else self.matrix_transpose(a)

    def broadcast_to(self, a: Any, shape: Shape) -> Node:
        node = self.lift(a)
        if same_shape(node.shape, tuple(shape)):
            return node
        if not same_shape(broadcast_shapes("broadcast_to", [node.shape, tuple(shape)]), tuple(shape)):
            raise TraceError(f"{list(node.shape)} does not broadcast to {list(shape)}{user_line()}")
        source = node.args[0] if node.op == "broadcast_to" else node
        return self._node("broadcast_to", (source,), None, tuple(shape), node.dtype)

    def expand_dims(self, a: Node, *, axis: int = 0) -> Node:
        given, axis = axis, axis + a.ndim + 1 if axis < 0 else axis
        if not 0 <= axis <= a.ndim:
            raise TraceError(f"expand_dims: axis {given} is out of range for {list(a.shape)}{user_line()}")
        shape = (*a.shape[:axis], 1, *a.shape[axis:])
        number = _number_within(a)
        if number is not None:
            return self.broadcast_to(number, shape)
        return self._node("expand_dims", (a,), axis, shape, a.dtype)

    def squeeze(self, a: Node, axis: int | tuple[int, ...]) -> Node:
        axes = _axes(a, axis)
        if any(not _is_one(a.shape[k]) for k in axes):
            raise TraceError(f"squeeze: {list(a.shape)} is not of size 1 along {axes}{user_line()}")
        shape = tuple(d for k, d in enumerate(a.shape) if k not in axes)
        if a.op == "expand_dims" and axes == (a.attribute,):
            return a.args[0]
        number = _number_within(a)
        if number is not None:
            return self.broadcast_to(number, shape)
        return self._node("squeeze", (a,), axes, shape, a.dtype)

    def _reduce(self, op: str, a: Any, axis: int | tuple[int, ...] | None, keepdims: bool) -> Node:
        node = self.lift(a)
        if node.dtype == BOOL:
            raise TraceError(f"xp.{op} of a condition{user_line()}: use xp.where(condition, 1.0, 0.0) first")
        axes = _axes(node, axis)
        wide = tuple(k for k in axes if not _is_one(node.shape[k]))
        if wide:
            shape = tuple(1 if k in wide else d for k, d in enumerate(node.shape))
            result = self._node(op, (node,), wide, shape, REAL)
        else:
            result = node
        return result if keepdims or not axes else self.squeeze(result, axes)

    def sum(self, a: Any, *, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Node:
        return self._reduce("sum", a, axis, keepdims)

    def max(self, a: Any, *, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Node:
        return self._reduce("max", a, axis, keepdims)

    def min(self, a: Any, *, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Node:
        return self._reduce("min", a, axis, keepdims)

    def mean(self, a: Any, *, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Node:
        node = self.lift(a)
        total = self.sum(node, axis=axis, keepdims=keepdims)
        for k in _axes(node, axis):
            total = total / node.shape[k]
        return total

    def detach(self, a: Node) -> Node:
        return self._node("detach", (a,), None, a.shape, a.dtype)


class UnknownOperationError(TraceError, AttributeError):
    """`xp` was asked for a function that the tracer does not know."""


_COMPOSED = frozenset(
    name for name in vars(Graph) if not name.startswith("_") and name not in {"apply", "detach", "dim", "input", "lift"}
) - {"pi", "e", "inf", "nan"}


def detach(a: Any) -> Any:
    """Return `a`, which differentiation then takes for a constant.

    The identity on every ordinary array. It is right only where the result does not depend on `a` at all, as for the
    largest logit that softmax subtracts: differentiating through it would add work and rounding, and nothing else.
    """
    return a.graph.detach(a) if isinstance(a, Node) else a


def broadcast_shapes(op: str, shapes: Sequence[Shape]) -> Shape:
    """Return the shape that `shapes` broadcast to, sizes compared by identity."""
    rank = max((len(s) for s in shapes), default=0)
    result: list[Dim | int] = []
    for k in range(-rank, 0):
        sizes = {s[k] for s in shapes if len(s) >= -k and not _is_one(s[k])}
        if len(sizes) > 1:
            raise TraceError(f"{op}: shapes {' and '.join(str(list(s)) for s in shapes)} do not fit{user_line()}")
        result.append(sizes.pop() if sizes else 1)
    return tuple(result)


def _is_zero(number: float | None, sign: float) -> bool:
    return number == 0 and math.copysign(1.0, number) == sign


def _is_power_of_two(number: float | None) -> bool:
    return number is not None and math.isfinite(number) and abs(math.frexp(number)[0]) == 0.5


def _not_namespace(called: str, name: str) -> str:
    known = name in ELEMENTWISE or name in _COMPOSED
    use = f"xp.{name}, the namespace that the function is given" if known else "functions of xp only"
    return f"numpy.{called} cannot be traced{user_line()}; use {use}"


def _key_text(keys: tuple[Any, ...]) -> str:
    def text(k: Any) -> str:
        if isinstance(k, slice):
            return ":".join("" if part is None else text(part) for part in (k.start, k.stop))
        return "..." if k is ... else "an array" if isinstance(k, Node) else repr(k)

    return ", ".join(map(text, keys))


def _number_within(a: Node) -> Node | None:
    """Return the number that `a` repeats, if it is nothing else."""
    source = a.args[0] if a.op == "broadcast_to" else a
    return source if source.dtype == SCALAR else None


def _is_one(size: Dim | int) -> bool:
    return isinstance(size, int) and size == 1


def _same_size(a: Dim | int, b: Dim | int) -> bool:
    return a is b or (_is_one(a) and _is_one(b))


def same_shape(a: Shape, b: Shape) -> bool:
    """Return whether two shapes are the same, sizes compared by identity."""
    return len(a) == len(b) and all(map(_same_size, a, b))


def _axes(a: Node, axis: int | tuple[int, ...] | None) -> tuple[int, ...]:
    given = range(a.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    axes = tuple(sorted(k + a.ndim if k < 0 else k for k in given))
    if any(not 0 <= k < a.ndim for k in axes):
        raise TraceError(f"axis {axis} is out of range for {list(a.shape)}{user_line()}")
    return axes


def _check_kinds(op: str, args: tuple[Node, ...]) -> None:
    conditions = args if op in _LOGICAL else args[:1] if op == "where" else ()
    numbers = () if op in _LOGICAL else args[len(conditions) :]
    if any(a.dtype != BOOL for a in conditions):
        raise TraceError(f"xp.{op} needs a condition such as z > 0{user_line()}")
    if op != "where" and any(a.dtype == BOOL for a in numbers):
        raise TraceError(f"{op} of a condition{user_line()}: use xp.where(condition, 1.0, 0.0) to make numbers of it")
