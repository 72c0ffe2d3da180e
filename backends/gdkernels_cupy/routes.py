"""What can be done inside a product rather than after it: found in the graph, never assumed.

A product may add the bias, take relu and note where it was positive; the product of the way back may keep what that
note says; the product for a gradient may sum the columns of its right operand; and it may be the update itself, where
the rule is linear in weights and gradient. Each only where the traced function is the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from gdkernels.definition import activations
from gdkernels.graph.nodes import Node
from gdkernels.graph.operations import SCALAR
from gdkernels.graph.steps import UNITS, Accumulation, Loop, Product, kind_of, value_of
from gdkernels_cupy.tasks import Task

__all__ = ["EPILOGUES", "FusedProduct", "Routes", "Update", "routes_of"]

EPILOGUES = ("bias", "relu", "drelu", "sums", "update")


@dataclass(frozen=True)
class FusedProduct:
    """A product that stores `result`, which a loop would otherwise make of it.

    Attributes
    ----------
    kind
        "bias", "relu" or "drelu".
    bias
        The name of the parameter that is added.
    makes_mask
        Whether it notes where the result is positive.
    masked_by
        The result whose note it keeps to, by the number of the node.
    """

    kind: str
    result: Node
    bias: str | None = None
    makes_mask: bool = False
    masked_by: int | None = None


@dataclass(frozen=True)
class Update:
    """The parameter that a gradient's product changes, and the factors of the gradient and of the parameter."""

    name: str
    factors: tuple[Node, Node]


@dataclass
class Routes:
    """What the products take over.

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
    """

    products: dict[int, FusedProduct] = field(default_factory=dict)
    updates: dict[int, Update] = field(default_factory=dict)
    sums_with: dict[int, Node] = field(default_factory=dict)
    summed: set[int] = field(default_factory=set)
    skipped: set[int] = field(default_factory=set)


def routes_of(task: Task, epilogues: frozenset[str], *, rounds: bool) -> Routes:
    """Return what of `epilogues` applies to this task.

    Parameters
    ----------
    rounds
        Whether what enters products is rounded: sums over the batch are of what was there before, biases are not.
    """
    finder = _Finder(task, epilogues - {"sums"} if rounds else epilogues, rounds=rounds)
    finder.find_products()
    if task.output is None:
        finder.find_updates()
        finder.find_sums()
    return finder.routes


class _Finder:
    def __init__(self, task: Task, epilogues: frozenset[str], *, rounds: bool) -> None:
        self.task, self.epilogues, self.rounds = task, epilogues, rounds
        self.routes = Routes()
        self.exact = {a.right.id for a in task.schedule.accumulations if rounds and a.left is None}
        steps = task.schedule.tile
        self.loops = [s for s in steps if isinstance(s, Loop)]
        self.products = {s.node.id: s for s in steps if isinstance(s, Product)}
        self.multiplied = {s.left.id for s in steps if isinstance(s, Product)}
        self.multiplied |= {o.id for s in steps if isinstance(s, Accumulation) for o in s.operands}

    # ---- what happens to a product's result

    def find_products(self) -> None:
        for loop in self.loops:
            fused = self._forward(loop)
            if fused is not None:
                self.routes.products[fused[0]] = fused[1]
                self.routes.skipped.add(id(loop))
        if "drelu" in self.epilogues:
            self._find_slopes()

    def _forward(self, loop: Loop) -> tuple[int, FusedProduct] | None:
        """Return the product that can end in what `loop` makes of it, if that is its bias added, or relu of that."""
        if len(loop.outputs) != 1 or loop.reductions:
            return None
        result = loop.outputs[0]
        candidates = [("bias", result)] if "bias" in self.epilogues else []
        if "relu" in self.epilogues and result.op == "where":
            z = value_of(result.args[2])
            if activations.relu(z, xp=z.graph) is result:
                candidates.append(("relu", z))
        for kind, z in candidates:
            terms = [value_of(a) for a in z.args] if z.op == "add" else [z]
            product = next((t for t in terms if t.id in self.products), None)
            bias = next((t for t in terms if t.op == "input" and kind_of(t, self.task.batch) == UNITS), None)
            if product is None or len(terms) != 1 + (bias is not None) or (kind == "bias" and bias is None):
                continue
            # cuBLAS wants the bias in the storage of the result, and so rounded where that is.
            exact = bias is None or not self.rounds or result.id not in self.multiplied
            if exact and self._is_only_read_by(product, loop):
                return product.id, FusedProduct(kind, result, None if bias is None else str(bias.attribute))
        return None

    def _find_slopes(self) -> None:
        """Let products of the way back keep what relu kept."""
        made = {f.result.args[0].id: (k, f) for k, f in self.routes.products.items() if f.kind == "relu"}
        for loop in self.loops:
            if len(loop.outputs) != 1 or loop.reductions or loop.outputs[0].op != "where":
                continue
            result = loop.outputs[0]
            condition, zero, kept = (value_of(a) for a in result.args)
            found = made.get(condition.id)
            fits = zero.op == "constant" and zero.attribute == 0 and kept.id in self.products
            if found is not None and fits and result.id not in self.exact and self._is_only_read_by(kept, loop):
                at, f = found
                self.routes.products[at] = FusedProduct(f.kind, f.result, f.bias, makes_mask=True)
                self.routes.products[kept.id] = FusedProduct("drelu", result, masked_by=f.result.id)
                self.routes.skipped.add(id(loop))

    def _is_only_read_by(self, product: Node, loop: Loop) -> bool:
        others = [n.id for other in self.loops if other is not loop for n in other.reads]
        return product.id not in others and product.id not in self.multiplied and product is not self.task.output

    # ---- sums over the batch

    def find_updates(self) -> None:
        if "update" not in self.epilogues:
            return
        updates = self.task.schedule.updates
        accumulations = {a.node.id: a for a in self.task.schedule.accumulations if a.left is not None}
        for name, loop in updates[-1].items():
            gradients = [n for n in loop.reads if n.id in accumulations]
            early = [n.id for phase in updates[:-1] for other in phase.values() for n in other.reads]
            if len(loop.outputs) != 1 or len(gradients) != 1:
                continue
            gradient, weights = gradients[0], self.task.parameters[name]
            if gradient.id in early or weights.id in early:  # something sums over them before anything may move
                continue
            factors = _linear(loop.outputs[0], gradient, weights)
            if factors is not None:
                self.routes.updates[gradient.id] = Update(name, factors)
                self.routes.skipped.add(id(loop))

    def find_sums(self) -> None:
        if "sums" not in self.epilogues:
            return
        accumulations = self.task.schedule.accumulations
        for summed in accumulations:
            for product in accumulations:
                if summed.left is None and product.left is not None and product.right is summed.right:
                    self.routes.sums_with[product.node.id] = summed.node
                    self.routes.summed.add(summed.node.id)
                    break


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
