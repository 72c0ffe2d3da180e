"""The operations that a product can do itself, rather than a kernel after it: found in the graph, never assumed.

A product may add the bias, take relu or gelu and leave what its slope needs; the product of the way back may multiply
by that slope, and sum the columns of what it gets; the product for a gradient may sum the columns of its right operand;
and it may be the update itself, where the rule is linear in weights and gradient. Each only where the traced function
is the same: an activation and its pull-back are recorded again on the graph, where equal nodes are one node.

cuBLAS's documentation does not say which formula its gelu is, nor how exactly it takes it: a probe finds out, device by
device, whether it is the definition's. Training that has come to infinities may differ: of −∞ the definition's gelu is
0 and the formula NaN.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from gdkernels.definition import activations
from gdkernels.graph import topological, value_and_pullback
from gdkernels.graph.nodes import Node, same_shape
from gdkernels.graph.operations import SCALAR
from gdkernels.lowering.steps import UNITS, Accumulation, Loop, Product, kind_of, value_of
from gdkernels.lowering.task import ScheduledTask

__all__ = [
    "EPILOGUES",
    "FUSED_ACTIVATIONS",
    "OVERWRITING",
    "FusedEpilogues",
    "FusedProduct",
    "FusedUpdate",
    "applicable",
    "fuse_epilogues",
]

EPILOGUES = ("bias", "relu", "bias rows", "drelu", "drelu sums", "gelu", "dgelu", "dgelu sums", "sums", "update")

# The activations that products can take.
FUSED_ACTIVATIONS = {"relu": activations.relu, "gelu": activations.gelu}

# What cannot add to what is there.
OVERWRITING = frozenset({"drelu sums", "dgelu sums", "sums", "update"})

# What would round where the definition does not: sums themselves, in the storage of a product's result, and gelu's
# argument before its slope is taken.
_ROUNDING = frozenset({"drelu sums", "dgelu", "dgelu sums"})


def applicable(precision: str) -> tuple[str, ...]:
    """Return which of `EPILOGUES` can be right in a precision."""
    other = _ROUNDING if precision == "bfloat16" else {"bias rows"}
    return tuple(e for e in EPILOGUES if e not in other)


@dataclass(frozen=True)
class FusedProduct:
    """A product that stores `result`, which a loop would otherwise make of it.

    Attributes
    ----------
    kind
        "bias", "relu", "gelu", "drelu" or "dgelu".
    bias
        The name of the parameter that is added.
    auxiliary
        What is left for the slope, or was: by the number of the activation's value.
    sums
        The sum over the batch that it makes of its result.
    bias_rows
        Whether the bias is rows of the weights: it is not rounded then, whatever the storage of the result.
    """

    kind: str
    result: Node
    bias: str | None = None
    auxiliary: int | None = None
    sums: Node | None = None
    bias_rows: bool = False


@dataclass(frozen=True)
class FusedUpdate:
    """The parameter that a gradient's product changes, and the factors of the gradient and of the parameter."""

    name: str
    factors: tuple[Node, Node]


@dataclass
class FusedEpilogues:
    """The operations that the products take over.

    Attributes
    ----------
    products
        By the number of the product's node.
    updates
        By the number of the gradient's node.
    sums_with, summed
        The sum over the batch that the product of a gradient makes on the way, by the number of that gradient; and
        which sums those are.
    skipped
        The ``id`` of each loop that is not needed any more.
    bordered
        Operands that have ones to their right, by the number of the node.
    """

    products: dict[int, FusedProduct] = field(default_factory=dict)
    updates: dict[int, FusedUpdate] = field(default_factory=dict)
    sums_with: dict[int, Node] = field(default_factory=dict)
    summed: set[int] = field(default_factory=set)
    skipped: set[int] = field(default_factory=set)
    bordered: set[int] = field(default_factory=set)


def fuse_epilogues(task: ScheduledTask, epilogues: frozenset[str], *, rounds: bool) -> FusedEpilogues:
    """Return what of `epilogues` applies to this task.

    Parameters
    ----------
    rounds
        Whether what enters products is rounded: biases are not. Sums over the batch are of what was there before,
        unless a product takes relu's slope: then the gradient of a bias sums what that of the weights multiplies.
    """
    finder = _Finder(task, epilogues - _ROUNDING if rounds else epilogues, rounds=rounds)
    finder.find_products()
    if task.output is None:
        finder.find_updates()
        finder.find_sums()
    return finder.fused


class _Finder:
    def __init__(self, task: ScheduledTask, epilogues: frozenset[str], *, rounds: bool) -> None:
        self.task, self.epilogues, self.rounds = task, epilogues, rounds
        self.fused = FusedEpilogues()
        self.exact = {a.right.id for a in self._sums_of_their_own()} if rounds else set()
        steps = task.schedule.tile
        self.loops = [s for s in steps if isinstance(s, Loop)]
        self.products = {s.node.id: s for s in steps if isinstance(s, Product)}
        self.multiplied = {s.left.id for s in steps if isinstance(s, Product)}
        self.multiplied |= {o.id for s in steps if isinstance(s, Accumulation) for o in s.operands}
        self.exact |= {s.right.id for s in task.schedule.row_sums if rounds}
        self.moved = {n.id for s in task.schedule.moves for n in s.sources}
        self.moved |= {s.right.id for s in task.schedule.row_sums}

    def _sums_of_their_own(self) -> list[Accumulation]:
        """Return the sums over the batch that no product of a gradient can make of what it multiplies."""
        accumulations = self.task.schedule.accumulations
        sums = [a for a in accumulations if a.left is None]
        if "sums" not in self.epilogues:
            return sums
        products = [a.right.id for a in accumulations if a.left is not None]
        summed = [a.right.id for a in sums]
        return [a for a in sums if summed.count(a.right.id) > products.count(a.right.id)]

    # ---- what happens to a product's result

    def find_products(self) -> None:
        for loop in self.loops:
            if not any(self._take(kind, loop) for kind in FUSED_ACTIVATIONS if kind in self.epilogues):
                self._take_bias(loop)

    def _take_bias(self, loop: Loop) -> None:
        if "bias" in self.epilogues and len(loop.outputs) == 1 and not loop.reductions:
            product, bias = self._affine(loop.outputs[0])
            if product is not None and bias is not None:
                self._fuse(product, FusedProduct("bias", loop.outputs[0], bias), (loop,))

    def _take(self, kind: str, loop: Loop) -> bool:
        """Let a product end in an activation's value, if that is what `loop` makes of it; return whether it is."""
        for value in () if loop.reductions else loop.outputs:
            z = self._argument(kind, value)
            if z is None:
                continue
            product, bias = self._affine(z)
            assert product is not None
            fused = FusedProduct(kind, value, bias)
            # What else the loop keeps is for the slope: it is not needed where a product takes that too.
            kept = [n for n in loop.outputs if n is not value]
            back = self._slope(kind, z, loop) if f"d{kind}" in self.epilogues else None
            if back is not None and all(self._is_only_read_by(n, back[0]) for n in kept):
                slope_loop, slope_product, slope = back
                if self._fuse(product, replace(fused, auxiliary=value.id), (loop, slope_loop)):
                    sums = self._sums_of(slope) if f"d{kind} sums" in self.epilogues else None
                    fused = FusedProduct(f"d{kind}", slope, auxiliary=value.id, sums=sums)
                    self._fuse(slope_product, fused, (slope_loop,))
                    return True
            if not kept and self._fuse(product, fused, (loop,)):
                return True
        return False

    def _affine(self, node: Node) -> tuple[Node | None, str | None]:
        """Return the product that `node` is and the name of the bias that is added to it, or None."""
        terms = [value_of(a) for a in node.args] if node.op == "add" else [node]
        product = next((t for t in terms if t.id in self.products), None)
        bias = next((t for t in terms if t.op == "input" and kind_of(t, self.task.batch) == UNITS), None)
        if product is None or len(terms) != 1 + (bias is not None):
            return None, None
        return product, None if bias is None else str(bias.attribute)

    def _argument(self, kind: str, value: Node) -> Node | None:
        """Return the product, perhaps with its bias, of which `value` is that activation."""
        for z in reversed(topological(value)):
            product, _ = self._affine(z)
            if product is not None:
                return z if FUSED_ACTIVATIONS[kind](z, xp=z.graph) is value else None
        return None

    def _slope(self, kind: str, z: Node, forward: Loop) -> tuple[Loop, Node, Node] | None:
        """Return the loop that pulls a product back through the activation, with that product and the result."""
        _, pull_back = value_and_pullback(FUSED_ACTIVATIONS[kind], elementwise=True)(z, xp=z.graph)
        for loop in self.loops:
            if loop is forward or len(loop.outputs) != 1 or loop.reductions:
                continue
            for product in loop.reads:
                result = loop.outputs[0]
                fits = product.id in self.products and same_shape(product.shape, z.shape)
                if fits and result.id not in self.exact and pull_back(product) is result:
                    return (loop, product, result) if self._is_only_read_by(product, loop) else None
        return None

    def _sums_of(self, values: Node) -> Node | None:
        found = (a.node for a in self.task.schedule.accumulations if a.left is None and a.right is values)
        summed = next(found, None)
        if summed is not None:
            self.fused.summed.add(summed.id)
        return summed

    def _fuse(self, product: Node, fused: FusedProduct, readers: tuple[Loop, ...]) -> bool:
        """Let a product do the work of the first of its `readers`, if nobody else needs what it was without that."""
        # cuBLAS wants the bias in the storage of the result, and so rounded where that is.
        exact = fused.bias is None or not self.rounds or fused.result.id not in self.multiplied
        if not exact and self._takes_bias_rows(product, fused, readers[0]):
            fused, exact = replace(fused, bias_rows=True), True
        if not exact or not self._is_only_read_by(product, *readers):
            return False
        if fused.bias_rows:
            self.fused.bordered.add(self.products[product.id].left.id)
        self.fused.products[product.id] = fused
        self.fused.skipped.add(id(readers[0]))
        return True

    def _takes_bias_rows(self, product: Node, fused: FusedProduct, forward: Loop) -> bool:
        """Return whether the bias can be rows of the weights, and what multiplies them can have ones to its right.

        Of the caller's rows it can; and of what such a product made, as relu of one is one.
        """
        if "bias rows" not in self.epilogues or fused.kind != "relu":
            return False
        step = self.products[product.id]
        others = [s for s in self.products.values() if s is not step and not s.transposed and s.weights is step.weights]
        before = [p for p in self.fused.products.values() if p.result is step.left and p.bias_rows]
        gathered = step.left.op == "input" and step.left.id not in self.moved
        return (
            not (step.transposed or others or fused.result.id in self.moved)
            and bool(gathered or before)
            and self._is_read_by_sign(fused.result, forward)
        )

    def _is_read_by_sign(self, value: Node, forward: Loop) -> bool:
        """Return whether loops only ask whether a value is positive: it is there as an operand alone."""
        reads = (
            (loop, k) for loop in self.loops if loop is not forward for k, n in enumerate(loop.reads) if n is value
        )
        return all(self.task.recipes[id(loop)].only_sign(k) for loop, k in reads)

    def _is_only_read_by(self, node: Node, *loops: Loop) -> bool:
        others = [n.id for other in self.loops if all(other is not loop for loop in loops) for n in other.reads]
        return node.id not in others and node.id not in self.multiplied | self.moved

    # ---- sums over the batch

    def find_updates(self) -> None:
        if "update" not in self.epilogues:
            return
        updates = self.task.schedule.updates
        accumulations = {a.node.id: a for a in self.task.schedule.accumulations if a.left is not None}
        for name, loop in updates[-1].items():
            gradients = [n for n in loop.reads if n.id in accumulations]
            early = [n.id for phase in updates[:-1] for other in phase.values() for n in other.reads]
            if self.task.values is not None and name in self.task.values.parameters.values():
                continue  # what is pulled back after the batch needs it as it was
            if len(loop.outputs) != 1 or len(gradients) != 1:
                continue
            gradient, weights = gradients[0], self.task.parameters[name]
            if gradient.id in early or weights.id in early:  # something sums over them before anything may move
                continue
            factors = _linear(loop.outputs[0], gradient, weights)
            if factors is not None:
                self.fused.updates[gradient.id] = FusedUpdate(name, factors)
                self.fused.skipped.add(id(loop))

    def find_sums(self) -> None:
        if "sums" not in self.epilogues:
            return
        accumulations = self.task.schedule.accumulations
        slopes = {p.result.id for p in self.fused.products.values() if p.kind == "drelu"}
        for summed in accumulations:
            if self.rounds and summed.right.id not in slopes:  # it is there in full, and its loop sums it on the way
                continue
            if summed.left is None and summed.node.id not in self.fused.summed:
                # A product makes one sum; biases that are added to the same values each have one of their own.
                products = (p for p in accumulations if p.left is not None and p.right is summed.right)
                product = next((p for p in products if p.node.id not in self.fused.sums_with), None)
                if product is not None:
                    self.fused.sums_with[product.node.id] = summed.node
                    self.fused.summed.add(summed.node.id)


def _linear(result: Node, gradient: Node, weights: Node) -> tuple[Node, Node] | None:
    """Return (α, β) if `result` is α·gradient + β·weights with numbers that the host knows, or None."""
    graph: Any = result.graph
    zero, one = graph.lift(0.0), graph.lift(1.0)

    def factors(node: Node) -> tuple[Node, Node] | None:
        node = value_of(node)
        if node is gradient:
            return one, zero
        if node is weights:
            return zero, one
        if node.op in ("add", "subtract"):
            first, second = factors(node.args[0]), factors(node.args[1])
            if first is None or second is None:
                return None
            return tuple(_sum(graph, node.op, a, b) for a, b in zip(first, second, strict=True))  # type: ignore[return-value]
        if node.op == "negative":
            inner = factors(node.args[0])
            return None if inner is None else (_product(graph, -1.0, inner[0]), _product(graph, -1.0, inner[1]))
        if node.op == "multiply" and node.args[0].dtype == SCALAR:
            inner = factors(node.args[1])
            number = node.args[0]
            return None if inner is None else (_product(graph, number, inner[0]), _product(graph, number, inner[1]))
        return None

    found = factors(result)
    return None if found is None or found[0] is zero else found


def _sum(graph: Any, op: str, a: Node, b: Node) -> Node:
    if _is_zero(b):
        return a
    if _is_zero(a):
        return b if op == "add" else _product(graph, -1.0, b)
    node: Node = graph.apply(op, a, b)
    return node


def _product(graph: Any, factor: Any, node: Node) -> Node:
    product: Node = node if _is_zero(node) else graph.apply("multiply", factor, node)
    return product


def _is_zero(node: Node) -> bool:
    return node.op == "constant" and node.attribute == 0
