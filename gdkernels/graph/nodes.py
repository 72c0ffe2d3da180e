"""The nodes and sizes that tracing records, which answer every Python operator, and their shapes.

Equal nodes are one node, sizes are symbols (`Dim`) compared by identity, and numbers that belong to the program rather
than to an array (constants, sizes, the learning rate, the step count) stay float64 scalars until they meet an array.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gdkernels.errors import TraceError
from gdkernels.graph.operations import BITWISE, COMPARISONS, INT
from gdkernels.graph.source import user_line

if TYPE_CHECKING:
    from gdkernels.graph.namespace import Graph

__all__ = [
    "Dim",
    "Node",
    "Recorded",
    "Shape",
    "UnknownOperationError",
    "axes_of",
    "broadcast_shapes",
    "is_one",
    "same_shape",
    "same_size",
]

_OPERATORS = frozenset({"negative", "abs", "add", "subtract", "multiply", "divide", "pow"}) | COMPARISONS | BITWISE
_NUMPY_NAMES = {
    "true_divide": "divide",
    "power": "pow",
    "absolute": "abs",
    "left_shift": "bitwise_left_shift",
    "right_shift": "bitwise_right_shift",
}


class UnknownOperationError(TraceError, AttributeError):
    """`xp` was asked for a function that the tracer does not know."""


class Recorded:
    """Operators shared by nodes and sizes: each records one operation, or says why it cannot."""

    __slots__ = ()
    graph: Graph

    def __array_ufunc__(self, ufunc: Any, method: str, *operands: Any, **options: Any) -> Node:
        # Reached by operators between a NumPy value and us, which are ours to record, and by calls of np.tanh and such.
        name = _NUMPY_NAMES.get(ufunc.__name__, ufunc.__name__)
        if method == "__call__" and name in _OPERATORS and not options:
            return self.graph.apply(name, *operands)
        raise TraceError(_not_namespace(self.graph, ufunc.__name__, name))

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Node:
        raise TraceError(_not_namespace(self.graph, function.__name__, function.__name__))

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), options: Any = None) -> Node:
        name = getattr(function, "__name__", "a function")
        raise TraceError(f"torch.{name} cannot be traced{user_line()}; use functions of xp only")

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
    """A size that stays a symbol: usable as a scalar (``1 / x.shape[0]``), equal only to itself.

    Where the number is known all the same, it is `size`: columns are counted by it, and Python computes with it.
    """

    __slots__ = ("graph", "name", "size")

    def __init__(self, name: str, graph: Graph, size: int | None = None) -> None:
        self.name = name
        self.graph = graph
        self.size = size

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Dim):
            return self is other
        raise TraceError(
            f"the size {self.name} is a symbol while it is traced and cannot be compared with {other!r}{user_line()}; "
            "make the choice outside of the function"
        )

    def __hash__(self) -> int:
        return id(self)

    def __index__(self) -> int:
        return int(self._no_number()) if self.size is None else self.size

    def __float__(self) -> float:
        return float(self.__index__())

    def __floordiv__(self, other: Any) -> Any:
        return self._no_remainder(other) if self.size is None else self.size // other

    def __mod__(self, other: Any) -> Any:
        return self._no_remainder(other) if self.size is None else self.size % other

    __int__ = __index__

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
        return self.graph.apply("bitwise_and" if self.dtype == INT else "logical_and", self, other)

    def __or__(self, other: Any) -> Node:
        return self.graph.apply("bitwise_or" if self.dtype == INT else "logical_or", self, other)

    def __xor__(self, other: Any) -> Node:
        return self.graph.apply("bitwise_xor", self, other)

    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__

    def __lshift__(self, other: Any) -> Node:
        return self.graph.apply("bitwise_left_shift", self, other)

    def __rshift__(self, other: Any) -> Node:
        return self.graph.apply("bitwise_right_shift", self, other)

    def __invert__(self) -> Node:
        return self.graph.apply("logical_not", self)

    def __matmul__(self, other: Node) -> Node:
        return self.graph.matmul(self, other)

    def __getitem__(self, key: Any) -> Node:
        return self.graph.indexed(self, key)

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
        use = f"use xp.{name}(a)" if self.graph.has(name) else "use functions of xp"
        raise UnknownOperationError(f"an array has no .{name} while it is traced{user_line()}; {use}")

    def __repr__(self) -> str:
        operands = ", ".join(f"%{a.id}" for a in self.args)
        attribute = "" if self.attribute is None else f" {self.attribute!r}"
        return f"%{self.id} = {self.op}({operands}){attribute} {list(self.shape)}"


def broadcast_shapes(op: str, shapes: Sequence[Shape]) -> Shape:
    """Return the shape that `shapes` broadcast to, sizes compared by identity."""
    rank = max((len(s) for s in shapes), default=0)
    result: list[Dim | int] = []
    for k in range(-rank, 0):
        sizes = {s[k] for s in shapes if len(s) >= -k and not is_one(s[k])}
        if len(sizes) > 1:
            raise TraceError(f"{op}: shapes {' and '.join(str(list(s)) for s in shapes)} do not fit{user_line()}")
        result.append(sizes.pop() if sizes else 1)
    return tuple(result)


def is_one(size: Dim | int) -> bool:
    return isinstance(size, int) and size == 1


def same_size(a: Dim | int, b: Dim | int) -> bool:
    return a is b or (is_one(a) and is_one(b))


def same_shape(a: Shape, b: Shape) -> bool:
    """Return whether two shapes are the same, sizes compared by identity."""
    return len(a) == len(b) and all(map(same_size, a, b))


def axes_of(a: Any, axis: int | tuple[int, ...] | None) -> tuple[int, ...]:
    given = range(a.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    axes = tuple(sorted(k + a.ndim if k < 0 else k for k in given))
    if any(not 0 <= k < a.ndim for k in axes):
        raise TraceError(f"axis {axis} is out of range for {list(a.shape)}{user_line()}")
    return axes


def _not_namespace(graph: Graph, called: str, name: str) -> str:
    use = f"xp.{name}, the namespace that the function is given" if graph.has(name) else "functions of xp only"
    return f"numpy.{called} cannot be traced{user_line()}; use {use}"
