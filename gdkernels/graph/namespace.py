"""The graph *is* a namespace: calling its functions records nodes instead of computing.

A `Graph` stands in for `xp` while a definition runs once on `Node` inputs. What comes out is the definition as data.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Sequence
from typing import Any

from gdkernels.errors import TraceError
from gdkernels.graph import indexing, moves
from gdkernels.graph.instead import INSTEAD
from gdkernels.graph.nodes import (
    Dim,
    Node,
    Shape,
    UnknownOperationError,
    axes_of,
    broadcast_shapes,
    is_one,
    same_shape,
    same_size,
)
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
from gdkernels.graph.simplify import simplified
from gdkernels.graph.source import user_line

__all__ = ["Graph", "apart", "detach"]


class Graph:
    """A recording namespace and the nodes that it recorded, operands before their users."""

    pi, e, inf, nan = math.pi, math.e, math.inf, math.nan
    int32 = INT

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.widths: dict[int, Dim] = {}  # the sizes whose numbers are known, by these
        self._known: dict[tuple[Any, ...], Node] = {}

    # ---- making nodes

    def dim(self, name: str, size: int | None = None) -> Dim:
        """Return a size that stays a symbol; each call makes a new one. The number may be known all the same."""
        dim = Dim(name, self, size)
        if size is not None:
            self.widths[size] = dim
        return dim

    def width(self, size: int) -> Dim | int:
        """Return the size that stands for this number; 1 stands for itself unless it has a symbol here."""
        known = self.widths.get(size)
        if known is not None or size == 1:
            return 1 if known is None else known
        return self.dim(f"n{size}", size)

    def input(self, name: str, shape: Shape = (), dtype: str = REAL) -> Node:
        """Record an input; a name stands for one input."""
        node = self.node("input", (), name, shape, dtype)
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
            return self.node("dim", (), value, (), SCALAR)
        if isinstance(value, bool):
            return self.node("constant", (), value, (), BOOL)
        if isinstance(value, numbers.Real):  # also a NumPy number, which is no array
            number = float(value)
            return self.node("constant", (), number, (), SCALAR, key=("constant", number.hex()))
        raise TraceError(
            f"a value of type {type(value).__module__}.{type(value).__name__} cannot enter a trace{user_line()}; "
            "only what the function is given, and numbers, can"
        )

    def node(
        self,
        op: str,
        args: tuple[Node, ...],
        attribute: Any,
        shape: Shape,
        dtype: str,
        key: tuple[Any, ...] | None = None,
    ) -> Node:
        """Record an operation, unless it is known."""
        # Shapes follow from the operands, except where the operation carries its own.
        key = key or (op, tuple(a.id for a in args), attribute, shape if op == "broadcast_to" else None)
        node = self._known.get(key)
        if node is None:
            node = Node(self, op, args, attribute, shape, dtype)
            self.nodes.append(node)
            self._known[key] = node
        return node

    def apart(self, node: Node, name: str) -> Node:
        """Return a node that computes what `node` does, and that is another one for each `name`."""
        shown = node.op in ("squeeze", "expand_dims", "broadcast_to", "transpose")  # a value, in another shape
        args = tuple(self.apart(a, name) for a in node.args) if shown else node.args
        return self.node(node.op, args, node.attribute, node.shape, node.dtype, key=("apart", node.id, name))

    def __getattr__(self, name: str) -> Callable[..., Node]:
        if name.startswith("__"):
            raise AttributeError(name)
        if self.has(name):

            def record(*args: Any) -> Node:
                return self.apply(name, *args)

            return record
        instead = f"; {INSTEAD[name]}" if name in INSTEAD else ""
        raise UnknownOperationError(
            f"xp.{name} is not an operation that can be traced{user_line()}{instead}; those are "
            f"{', '.join(sorted({*ELEMENTWISE, *_COMPOSED} - CONVERSIONS))}, and the operators"
        )

    def has(self, name: str) -> bool:
        """Return whether this namespace has a function of that name."""
        return (name in ELEMENTWISE and name not in CONVERSIONS) or name in _COMPOSED

    def apply(self, op: str, *values: Any) -> Node:
        """Record the elementwise operation `op`, simplified where the value stays the same to the bit."""
        if len(values) != ELEMENTWISE[op]:
            raise TraceError(f"xp.{op} takes {ELEMENTWISE[op]} operands, got {len(values)}{user_line()}")
        args = tuple(self.lift(v) for v in values)
        if op in BITWISE or (op not in CONVERSIONS and any(a.dtype == INT for a in args)):
            args = tuple(self._as_integer(op, a) for a in args)
        else:
            _check_kinds(op, args)
        args = self._stretched(args)
        shape = broadcast_shapes(op, [a.shape for a in args])
        # An operation on broadcast operands is done before broadcasting.
        if any(_is_repeated(a) for a in args):
            inner = self.apply(op, *(a.args[0] if _is_repeated(a) else a for a in args))
            return self.broadcast_to(inner, shape)
        simple = None if args[0].dtype == INT else simplified(self, op, args)
        if simple is not None:
            return self.broadcast_to(simple, shape)
        if op in COMPARISONS or op in LOGICAL:
            dtype = BOOL
        elif op == "to_int" or (op != "to_real" and args[0].dtype == INT):
            dtype = INT
        else:
            operands = args[1:] if op == "where" else args
            dtype = SCALAR if all(a.dtype == SCALAR for a in args) and op != "to_real" else REAL
            if op == "where" and all(a.dtype == BOOL for a in operands):
                dtype = BOOL
        return self.node(op, args, None, shape, dtype)

    def _stretched(self, args: tuple[Node, ...]) -> tuple[Node, ...]:
        """Return operands of which matrices of one unit are columns, where they are stretched to the width of others.

        A size is a symbol here, also one whose number is 1.
        """
        widths = {a.shape[-1] for a in args if a.ndim and not is_one(a.shape[-1])}
        heights = {a.shape[0] for a in args if a.ndim == 2 and not is_one(a.shape[0])}
        if len(widths) < 2 and len(heights) < 2:
            return args
        # A parameter of one number, or of one row, is summed over that, which leaves its numbers as they are.
        args = tuple(
            self.sum(a, axis=0)
            if a.ndim and _is_single(a.shape[0]) and len(heights if a.ndim == 2 else widths) > 1
            else a
            for a in args
        )
        return tuple(
            self.expand_dims(moves.column(self, a, 0), axis=1)
            if a.ndim == 2 and _is_single(a.shape[1]) and len(widths) > 1
            else a
            for a in args
        )

    # ---- the rest of the namespace

    def asarray(self, value: Any) -> Node:
        return self.lift(value)

    def astype(self, a: Any, dtype: Any) -> Node:
        node = self.lift(a)
        if dtype == node.dtype or (dtype == REAL and node.dtype == SCALAR):
            return node
        if node.dtype == BOOL and dtype == REAL:
            return self.apply("where", node, 1.0, 0.0)
        if (node.dtype, dtype) not in {(REAL, INT), (INT, REAL)}:
            raise TraceError(
                f"xp.astype to {dtype!r} cannot be traced{user_line()}; numbers can be made 32-bit integers "
                "(xp.int32), and integers and conditions numbers (the dtype of an operand)"
            )
        return self.apply("to_int" if dtype == INT else "to_real", node)

    def _as_integer(self, op: str, a: Node) -> Node:
        """Return an operand of an operation on integers: an array of them, or a whole number that is one."""
        if op not in INT_ARITHMETIC:
            raise TraceError(f"{op} of integers cannot be traced{user_line()}; use xp.astype to make numbers of them")
        if a.dtype == INT:
            return a
        number = a.attribute if a.op == "constant" and a.dtype == SCALAR else math.nan
        if -(2**31) <= number < 2**31 and number == int(number):
            return self.node("constant", (), int(number), (), INT, key=("integer", int(number)))
        raise TraceError(
            f"{op} of integers and of something else cannot be traced{user_line()}; xp.astype(a, xp.int32) makes "
            "integers of an array, and numbers beside them must be whole and fit into 32 bits"
        )

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
        ranks = a.ndim, b.ndim
        if not all(1 <= rank <= 2 for rank in ranks) or not _as_long(a.shape[-1], b.shape[0]):
            raise TraceError(f"matmul: shapes {list(a.shape)} and {list(b.shape)} do not fit{user_line()}")
        if a.ndim == 1:
            return self.squeeze(self.matmul(self.expand_dims(a, axis=0), b), 0)
        if b.ndim == 1:
            return self.squeeze(self.matmul(a, self.expand_dims(b, axis=1)), 1)
        if not same_size(a.shape[1], b.shape[0]):  # 1 and a symbol for it
            a = self.broadcast_to(a, (a.shape[0], b.shape[0])) if is_one(a.shape[1]) else a
            b = self.broadcast_to(b, (a.shape[1], b.shape[1]))
        if a.dtype != REAL or b.dtype != REAL:
            raise TraceError(f"matmul takes numbers{user_line()}: use xp.astype to make numbers of {a.dtype} arrays")
        return self.node("matmul", (a, b), None, (a.shape[0], b.shape[1]), REAL)

    def vecdot(self, a: Any, b: Any, *, axis: int = -1) -> Node:
        return self.sum(self.apply("multiply", a, b), axis=axis)

    def matrix_transpose(self, a: Node) -> Node:
        if a.ndim != 2:
            raise TraceError(f"a transpose needs two dimensions, got {list(a.shape)}{user_line()}")
        if a.op == "transpose":
            return a.args[0]
        return self.node("transpose", (a,), None, a.shape[::-1], a.dtype)

    def permute_dims(self, a: Node, axes: Sequence[int]) -> Node:
        order = [k + a.ndim if k < 0 else k for k in axes]
        if sorted(order) != list(range(a.ndim)):
            raise TraceError(f"permute_dims: axes {tuple(axes)} do not fit {list(a.shape)}{user_line()}")
        return a if order == sorted(order) else self.matrix_transpose(a)

    def broadcast_to(self, a: Any, shape: Shape) -> Node:
        node = self.lift(a)
        shape = tuple(self.width(int(n)) if isinstance(n, numbers.Integral) and n != 1 else n for n in shape)
        if same_shape(node.shape, tuple(shape)):
            return node
        if not same_shape(broadcast_shapes("broadcast_to", [node.shape, tuple(shape)]), tuple(shape)):
            raise TraceError(f"{list(node.shape)} does not broadcast to {list(shape)}{user_line()}")
        source = node.args[0] if node.op == "broadcast_to" else node
        return self.node("broadcast_to", (source,), None, tuple(shape), node.dtype)

    def expand_dims(self, a: Node, *, axis: int = 0) -> Node:
        given, axis = axis, axis + a.ndim + 1 if axis < 0 else axis
        if not 0 <= axis <= a.ndim:
            raise TraceError(f"expand_dims: axis {given} is out of range for {list(a.shape)}{user_line()}")
        shape = (*a.shape[:axis], 1, *a.shape[axis:])
        number = _number_within(a)
        if number is not None:
            return self.broadcast_to(number, shape)
        return self.node("expand_dims", (a,), axis, shape, a.dtype)

    def squeeze(self, a: Node, axis: int | tuple[int, ...]) -> Node:
        axes = axes_of(a, axis)
        if any(not is_one(a.shape[k]) for k in axes):
            raise TraceError(f"squeeze: {list(a.shape)} is not of size 1 along {axes}{user_line()}")
        shape = tuple(d for k, d in enumerate(a.shape) if k not in axes)
        if a.op == "expand_dims" and axes == (a.attribute,):
            return a.args[0]
        number = _number_within(a)
        if number is not None:
            return self.broadcast_to(number, shape)
        return self.node("squeeze", (a,), axes, shape, a.dtype)

    def _reduce(self, op: str, a: Any, axis: int | tuple[int, ...] | None, keepdims: bool) -> Node:
        node = self.lift(a)
        if node.dtype == BOOL:
            raise TraceError(f"xp.{op} of a condition{user_line()}: use xp.where(condition, 1.0, 0.0) first")
        if node.dtype == INT:
            raise TraceError(f"xp.{op} of integers{user_line()}: use xp.astype to make numbers of them first")
        axes = axes_of(node, axis)
        wide = tuple(k for k in axes if not is_one(node.shape[k]))
        if wide:
            shape = tuple(1 if k in wide else d for k, d in enumerate(node.shape))
            number = _number_within(node)
            if number is not None and number.op == "constant" and number.attribute == 0:
                result = self.broadcast_to(number, shape)  # as the gradient of a parameter that nothing depends on
            else:
                result = self.node(op, (node,), wide, shape, REAL)
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
        for k in axes_of(node, axis):
            total = total / node.shape[k]
        return total

    def var(
        self, a: Any, *, axis: int | tuple[int, ...] | None = None, correction: float = 0.0, keepdims: bool = False
    ) -> Node:
        node = self.lift(a)
        apart = node - self.mean(node, axis=axis, keepdims=True)
        if not correction:
            return self.mean(apart * apart, axis=axis, keepdims=keepdims)
        count = self.lift(1.0)
        for k in axes_of(node, axis):
            count = count * node.shape[k]
        return self.sum(apart * apart, axis=axis, keepdims=keepdims) / (count - correction)

    def std(
        self, a: Any, *, axis: int | tuple[int, ...] | None = None, correction: float = 0.0, keepdims: bool = False
    ) -> Node:
        return self.apply("sqrt", self.var(a, axis=axis, correction=correction, keepdims=keepdims))

    # ---- columns, and rows by their numbers

    def indexed(self, a: Node, key: Any) -> Node:
        """Record ``a[key]``."""
        return indexing.indexed(a, key)

    def column(self, a: Node, k: int) -> Node:
        """Record column `k` of a [records, units], as numbers [records]."""
        return moves.column(self, a, k)

    def columns(self, a: Node, start: int | None, stop: int | None) -> Node:
        """Record the columns of a [records, units] from `start` to `stop`, as a slice means them."""
        return moves.columns(self, a, start, stop)

    def concat(self, arrays: Sequence[Any], *, axis: int | None = 0) -> Node:
        return moves.concat(self, [self.lift(a) for a in arrays], axis)

    def stack(self, arrays: Sequence[Any], *, axis: int = 0) -> Node:
        vectors = [self.lift(a) for a in arrays]
        if axis not in (0, 1, -1) or any(a.ndim != 1 for a in vectors):
            shown = ", ".join(str(list(a.shape)) for a in vectors)
            raise TraceError(f"stack takes vectors, along axis 0 or 1; got {shown} along {axis}{user_line()}")
        return self.concat([self.expand_dims(a, axis=1 if axis else 0) for a in vectors], axis=1 if axis else 0)

    def take(self, a: Node, indices: Node, *, axis: int | None = None) -> Node:
        return moves.take(self, self.lift(a), self.lift(indices), axis)

    def add_rows(self, codes: Node, rows: Node, table: Shape) -> Node:
        """Record for each row of a table of this shape the sum of the `rows` with its number among `codes`."""
        return self.node("add_rows", (codes, rows), None, table, REAL, key=("add_rows", codes.id, rows.id, table))

    def row_outer(self, a: Node, d: Node) -> Node:
        """Record for each record the products of all its numbers in `a` with all those in `d`, side by side.

        Of a [records, m] and d [records, n] it is [records, m·n]: for a weight matrix its part of the gradient that
        each record has, where a product would have summed them up.
        """
        return moves.row_outer(self, a, d)

    def detach(self, a: Node) -> Node:
        return self.node("detach", (a,), None, a.shape, a.dtype)


_NOT_FUNCTIONS = {
    "add_rows", "apart", "apply", "column", "columns", "detach", "dim", "e", "has", "indexed", "inf", "input",
    "int32", "lift", "nan", "node", "pi", "row_outer", "width",
}  # fmt: skip
_COMPOSED = frozenset(name for name in vars(Graph) if not name.startswith("_")) - _NOT_FUNCTIONS


def detach(a: Any) -> Any:
    """Return `a`, which differentiation then takes for a constant.

    The identity on every ordinary array. It is right only where the result does not depend on `a` at all, as for the
    largest logit that softmax subtracts: differentiating through it would add work and rounding, and nothing else.
    """
    return a.graph.detach(a) if isinstance(a, Node) else a


def apart(a: Any, name: str) -> Any:
    """Return `a`; of a recorded array, another node with its value, one for each `name`.

    Equal nodes are one node. That is too few where each of two parameters has a gradient of its own to be worked out.
    """
    return a.graph.apart(a, name) if isinstance(a, Node) else a


def _number_within(a: Node) -> Node | None:
    """Return the number that `a` repeats, if it is nothing else."""
    source = a.args[0] if a.op == "broadcast_to" else a
    return source if source.dtype == SCALAR else None


def _is_repeated(a: Node) -> bool:
    """Return whether `a` repeats another array: not if that has the shape of a parameter of one number, or one row."""
    if a.op != "broadcast_to" or not a.shape or not _is_single(a.shape[0]):
        return a.op == "broadcast_to"
    source = a.args[0].shape
    return not (all(map(_is_single, a.shape)) or same_shape(source[-1:], a.shape[1:]))


def _as_long(a: Dim | int, b: Dim | int) -> bool:
    """Return whether two sizes are equal, or both 1, which of a sum that keeps its axis is no symbol."""
    return same_size(a, b) or all(is_one(size) or _is_single(size) for size in (a, b))


def _is_single(size: Dim | int) -> bool:
    """Return whether a size is a symbol for 1."""
    return isinstance(size, Dim) and size.size == 1


def _check_kinds(op: str, args: tuple[Node, ...]) -> None:
    conditions = args if op in LOGICAL else args[:1] if op == "where" else ()
    numbers = () if op in LOGICAL else args[len(conditions) :]
    if any(a.dtype != BOOL for a in conditions):
        raise TraceError(f"xp.{op} needs a condition such as z > 0{user_line()}")
    if op != "where" and any(a.dtype == BOOL for a in numbers):
        raise TraceError(f"{op} of a condition{user_line()}: use xp.where(condition, 1.0, 0.0) to make numbers of it")
