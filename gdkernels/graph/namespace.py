"""The graph *is* a namespace: calling its functions records nodes instead of computing.

A `Graph` stands in for `xp` while a definition runs once on `Node` inputs. What comes out is the definition as data.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from gdkernels.errors import TraceError
from gdkernels.graph import elementwise, grouped, indexing, moves, reductions, shapes
from gdkernels.graph.arranging import ARRANGING
from gdkernels.graph.functions import FUNCTIONS
from gdkernels.graph.grouped import Grouped, takes_groups
from gdkernels.graph.instead import INSTEAD
from gdkernels.graph.linear_algebra import LinearAlgebra, root, tensordot
from gdkernels.graph.nodes import (
    Dim,
    Node,
    Shape,
    UnknownOperationError,
    axes_of,
    same_shape,
)
from gdkernels.graph.operations import (
    BOOL,
    CONVERSIONS,
    ELEMENTWISE,
    INT,
    REAL,
    SCALAR,
)
from gdkernels.graph.running import RUNNING
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
        if isinstance(value, Grouped):
            raise TraceError(
                f"this cannot be traced of an array of three dimensions, {list(value.shape)}{user_line()}; elementwise "
                "functions, sums, means and extrema, products, concat and reshape can"
            )
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
        if name in _MADE:
            return partial(_MADE[name], self)
        if self.has(name):
            return partial(self.apply, name)
        known = f"those are {', '.join(sorted({*ELEMENTWISE, *_COMPOSED} - CONVERSIONS))}, and the operators"
        raise UnknownOperationError(
            f"xp.{name} is not an operation that can be traced{user_line()}; {INSTEAD.get(name, known)}"
        )

    def has(self, name: str) -> bool:
        """Return whether this namespace has a function of that name."""
        return (name in ELEMENTWISE and name not in CONVERSIONS) or name in _COMPOSED

    @takes_groups
    def apply(self, op: str, *values: Any) -> Node:
        """Record the elementwise operation `op`, simplified where the value stays the same to the bit."""
        return elementwise.applied(self, op, values)

    # ---- the rest of the namespace

    def asarray(self, value: Any) -> Node:
        return self.lift(value)

    @takes_groups
    def astype(self, a: Any, dtype: Any) -> Node:
        return elementwise.converted(self, self.lift(a), dtype)

    @takes_groups
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
        lower = a if min is None else self.apply("maximum", a, min)
        return lower if max is None else self.apply("minimum", lower, max)

    @takes_groups
    def logaddexp(self, a: Any, b: Any) -> Node:
        # Made of parts whose slopes are exact at a tie and at both infinities, and which share exp with the value.
        a, b = self.lift(a), self.lift(b)
        gap = self.apply("subtract", a, b)
        if not any(n.op == "constant" and math.isfinite(n.attribute) for n in (a, b)):
            tie = self.apply("equal", a, b)  # of infinities too, whose difference is NaN
            gap = self.apply("where", tie, 0.0, a) - self.apply("where", tie, 0.0, b)
        return self.apply("maximum", a, b) + self.apply("log1p", self.apply("exp", -self.apply("abs", gap)))

    @takes_groups
    def matmul(self, a: Any, b: Any) -> Node:
        return shapes.product(self, self.lift(a), self.lift(b))

    @property
    def linalg(self) -> LinearAlgebra:
        return LinearAlgebra(self)

    def vecdot(self, a: Any, b: Any, *, axis: int = -1) -> Node:
        return self.sum(self.apply("multiply", a, b), axis=axis)

    @takes_groups
    def matrix_transpose(self, a: Node) -> Node:
        return shapes.transposed(self, a)

    @takes_groups
    def permute_dims(self, a: Node, axes: Sequence[int]) -> Node:
        return shapes.permuted(self, a, axes)

    def broadcast_to(self, a: Any, shape: Shape) -> Node:
        return shapes.broadcast(self, self.lift(a), tuple(shape))

    def expand_dims(self, a: Node, *, axis: int = 0) -> Node:
        groups: Node | None = grouped.grouped(a, axis) if a.ndim == 2 else None
        return shapes.expanded(self, a, axis) if groups is None else groups

    @takes_groups
    def squeeze(self, a: Node, axis: int | tuple[int, ...]) -> Node:
        return shapes.squeezed(self, a, axes_of(a, axis))

    @takes_groups
    def sum(self, a: Any, *, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Node:
        return reductions.reduced(self, "sum", self.lift(a), axis, keepdims)

    @takes_groups
    def max(self, a: Any, *, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Node:
        return reductions.reduced(self, "max", self.lift(a), axis, keepdims)

    @takes_groups
    def min(self, a: Any, *, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Node:
        return reductions.reduced(self, "min", self.lift(a), axis, keepdims)

    @takes_groups
    def mean(self, a: Any, *, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Node:
        return reductions.mean(self, self.lift(a), axis, keepdims)

    @takes_groups
    def var(
        self, a: Any, *, axis: int | tuple[int, ...] | None = None, correction: float = 0.0, keepdims: bool = False
    ) -> Node:
        return reductions.variance(self, self.lift(a), axis, correction, keepdims)

    def std(
        self, a: Any, *, axis: int | tuple[int, ...] | None = None, correction: float = 0.0, keepdims: bool = False
    ) -> Node:
        return root(self, self.var(a, axis=axis, correction=correction, keepdims=keepdims))

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

    @takes_groups
    def concat(self, arrays: Sequence[Any], *, axis: int | None = 0) -> Node:
        return moves.concat(self, [self.lift(a) for a in arrays], axis)

    def stack(self, arrays: Sequence[Any], *, axis: int = 0) -> Node:
        lifted = [self.lift(a) for a in arrays]
        groups: Node | None = grouped.stacked(self, lifted, axis) if {a.ndim for a in lifted} == {2} else None
        return moves.stack(self, lifted, axis) if groups is None else groups

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

    def row_product(self, a: Node, b: Node, sizes: tuple[int, int, int], turned: tuple[bool, bool]) -> Node:
        """Record for each record the product of two matrices of its own, or of their transposes, as units."""
        return moves.row_product(self, a, b, sizes, turned)

    def detach(self, a: Node) -> Node:
        return self.node("detach", (a,), None, a.shape, a.dtype)


_NOT_FUNCTIONS = {
    "add_rows", "apart", "apply", "column", "columns", "detach", "dim", "e", "has", "indexed", "inf", "input",
    "int32", "lift", "linalg", "nan", "node", "pi", "row_outer", "row_product", "width",
}  # fmt: skip
_MADE: dict[str, Callable[..., Any]] = {**ARRANGING, **FUNCTIONS, **RUNNING, "tensordot": tensordot}
_COMPOSED = (frozenset(name for name in vars(Graph) if not name.startswith("_")) | frozenset(_MADE)) - _NOT_FUNCTIONS


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
