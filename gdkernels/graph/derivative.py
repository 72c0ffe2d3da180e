"""Reverse-mode differentiation: a graph in, more of the same graph out.

The rules are chosen so that a slope is right where it is delicate: selections instead of products with 0 or 1 (so that
an infinity on the other branch does not become NaN), the value reused where the slope follows from it, ties split
evenly.
"""

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise

from gdkernels.graph.moves import units
from gdkernels.graph.namespace import Graph
from gdkernels.graph.nodes import Node, Shape, is_one
from gdkernels.graph.operations import BITWISE, COMPARISONS, CONVERSIONS, LOGICAL

__all__ = ["operand_cotangents", "topological", "unbroadcast", "vjp", "vjps"]

# (graph, node, cotangent) -> a cotangent per operand; None where the value does not depend on it smoothly.
Rule = Callable[[Graph, Node, Node], tuple[Node | None, ...]]


def topological(*outputs: Node) -> list[Node]:
    """Return the nodes that `outputs` depend on, operands first."""
    found: dict[int, Node] = {}
    pending = list(outputs)
    while pending:
        node = pending.pop()
        if node.id not in found:
            found[node.id] = node
            pending.extend(node.args)
    return [found[k] for k in sorted(found)]  # a node is numbered after its operands


def vjp(output: Node, wrt: Node, cotangent: Node) -> Node:
    """Return the vector–Jacobian product of `output` with respect to `wrt`, as `vjps` does for several."""
    return vjps(output, (wrt,), cotangent)[0]


def vjps(output: Node, wrt: Sequence[Node], cotangent: Node) -> list[Node]:
    """Return the vector–Jacobian products of `output` with respect to some nodes, recorded on the same graph.

    Parameters
    ----------
    output
        A node that depends on those of `wrt`.
    wrt
        Inputs of the graph, or nodes inside it; none of them depends on another.
    cotangent
        A node of the shape of `output`: the derivative of what is minimised with respect to it.

    Returns
    -------
    list
        For each of `wrt` the derivative with respect to it, of its shape.
    """
    graph, wanted = output.graph, {n.id for n in wrt}
    nodes = topological(output)
    leading = set(wanted)  # the nodes through which the way back leads to one that is wanted
    for node in nodes:
        if any(a.id in leading for a in node.args):
            leading.add(node.id)
    cotangents: dict[int, Node] = {output.id: graph.broadcast_to(cotangent, output.shape)}
    for node in reversed(nodes):
        incoming = cotangents.get(node.id)
        if incoming is None or node.id in wanted or node.id not in leading:
            continue
        for operand, part in zip(node.args, operand_cotangents(node, incoming), strict=True):
            if part is not None and operand.id in leading:
                share = unbroadcast(graph, part, operand.shape)
                seen = cotangents.get(operand.id)
                cotangents[operand.id] = share if seen is None else seen + share
    nothing = graph.lift(0.0)
    return [cotangents.get(n.id, graph.broadcast_to(nothing, n.shape)) for n in wrt]


def operand_cotangents(node: Node, cotangent: Node) -> tuple[Node | None, ...]:
    """Return for each operand of a node its share of the node's cotangent; None where it has none.

    A share still has the shape that the operand was repeated to: `unbroadcast` sums it up.
    """
    return _RULES[node.op](node.graph, node, cotangent)


def unbroadcast(graph: Graph, a: Node, shape: Shape) -> Node:
    """Sum `a` over the axes along which an operand of `shape` was repeated."""
    extra = a.ndim - len(shape)
    repeated = tuple(k for k in range(extra, a.ndim) if isinstance(shape[k - extra], int))
    if repeated:
        a = graph.sum(a, axis=repeated, keepdims=True)
    if extra:
        a = graph.sum(a, axis=tuple(range(extra)))
    return graph.broadcast_to(a, shape)


def _zero(graph: Graph, node: Node, ct: Node) -> tuple[Node | None, ...]:
    return (None,) * len(node.args)


def _multiply(graph: Graph, node: Node, ct: Node) -> tuple[Node | None, ...]:
    a, b = node.args
    return (2.0 * a * ct, None) if a is b else (ct * b, ct * a)


def _divide(graph: Graph, node: Node, ct: Node) -> tuple[Node | None, ...]:
    share = ct / node.args[1]
    return share, -(share * node)


def _pow(graph: Graph, node: Node, ct: Node) -> tuple[Node | None, ...]:
    a, b = node.args
    exponent = None if b.dtype == "scalar" else ct * node * graph.apply("log", a)
    return ct * (b * a ** (b - 1.0)), exponent


def _extremum(graph: Graph, node: Node, ct: Node) -> tuple[Node | None, ...]:
    a, b = node.args
    beats = "greater" if node.op == "maximum" else "less"
    tie = graph.apply("where", graph.apply("equal", a, b), 0.5 * ct, 0.0)
    return (
        graph.apply("where", graph.apply(beats, a, b), ct, tie),
        graph.apply("where", graph.apply(beats, b, a), ct, tie),
    )


def _where(graph: Graph, node: Node, ct: Node) -> tuple[Node | None, ...]:
    condition = node.args[0]
    return None, graph.apply("where", condition, ct, 0.0), graph.apply("where", condition, 0.0, ct)


def _reduced_extremum(graph: Graph, node: Node, ct: Node) -> tuple[Node | None, ...]:
    (a,) = node.args
    attained = graph.apply("equal", a, node)
    ties = graph.sum(graph.apply("where", attained, graph.ones_like(a), 0.0), axis=node.attribute, keepdims=True)
    # Where nothing is attained, with NaN among the numbers, there is nothing to divide either.
    return (graph.apply("where", attained, ct / graph.apply("maximum", ties, 1.0), 0.0),)


def _matmul(graph: Graph, node: Node, ct: Node) -> tuple[Node | None, ...]:
    a, b = node.args
    return graph.matmul(ct, b.T), graph.matmul(a.T, ct)


def _transpose(graph: Graph, node: Node, ct: Node) -> tuple[Node | None, ...]:
    if ct.op == "matmul":  # (a b)ᵀ as bᵀ aᵀ: a product again, as compiled steps have it
        a, b = ct.args
        return (graph.matmul(b.T, a.T),)
    return (ct.T,)


def _unsqueeze(graph: Graph, node: Node, ct: Node) -> tuple[Node | None, ...]:
    for axis in node.attribute:
        ct = graph.expand_dims(ct, axis=axis)
    return (ct,)


def _beside_nothing(graph: Graph, node: Node, ct: Node) -> tuple[Node | None, ...]:
    """Put the columns where they come from, and 0 on both sides of them."""
    (a,) = node.args
    first, last = node.attribute if node.op == "columns" else (node.attribute, node.attribute + 1)
    ct = ct if node.op == "columns" else graph.expand_dims(ct, axis=1)
    sides = [
        graph.broadcast_to(0.0, (a.shape[0], graph.width(count))) if count else None
        for count in (first, units(a) - last)
    ]
    whole = graph.concat([part for part in (sides[0], ct, sides[1]) if part is not None], axis=1)
    return (graph.broadcast_to(whole, a.shape),)


def _concat(graph: Graph, node: Node, ct: Node) -> tuple[Node | None, ...]:
    edges = [0, *accumulate(map(units, node.args))]
    return tuple(
        graph.expand_dims(graph.column(ct, first), axis=1) if is_one(a.shape[1]) else graph.columns(ct, first, last)
        for a, (first, last) in zip(node.args, pairwise(edges), strict=True)
    )


def _row_outer(graph: Graph, node: Node, ct: Node) -> tuple[Node | None, ...]:
    a, d = node.args
    count = units(d)
    of_units = [graph.columns(ct, k * count, (k + 1) * count) for k in range(units(a))]
    slopes = [graph.sum(part * d, axis=1, keepdims=True) for part in of_units]
    total = of_units[0] * graph.columns(a, 0, 1)
    for k, part in enumerate(of_units[1:], start=1):
        total = total + part * graph.columns(a, k, k + 1)
    return graph.concat(slopes, axis=1), total


_RULES: dict[str, Rule] = dict.fromkeys(COMPARISONS | LOGICAL | BITWISE | CONVERSIONS, _zero) | {
    "sign": _zero,
    "detach": _zero,
    "negative": lambda graph, node, ct: (-ct,),
    "abs": lambda graph, node, ct: (ct * graph.apply("sign", node.args[0]),),
    "sqrt": lambda graph, node, ct: (ct * 0.5 / node,),
    "exp": lambda graph, node, ct: (ct * node,),
    "expm1": lambda graph, node, ct: (ct * graph.apply("exp", node.args[0]),),  # node + 1 would lose small slopes
    "log": lambda graph, node, ct: (ct / node.args[0],),
    "log1p": lambda graph, node, ct: (ct / (node.args[0] + 1.0),),
    "tanh": lambda graph, node, ct: (ct * (1.0 - node * node),),
    "sin": lambda graph, node, ct: (ct * graph.apply("cos", node.args[0]),),
    "cos": lambda graph, node, ct: (-(ct * graph.apply("sin", node.args[0])),),
    "add": lambda graph, node, ct: (ct, ct),
    "subtract": lambda graph, node, ct: (ct, -ct),
    "multiply": _multiply,
    "divide": _divide,
    "pow": _pow,
    "maximum": _extremum,
    "minimum": _extremum,
    "where": _where,
    "sum": lambda graph, node, ct: (graph.broadcast_to(ct, node.args[0].shape),),
    "max": _reduced_extremum,
    "min": _reduced_extremum,
    "matmul": _matmul,
    "transpose": _transpose,
    "column": _beside_nothing,
    "columns": _beside_nothing,
    "concat": _concat,
    "take": lambda graph, node, ct: (graph.add_rows(node.args[1], ct, node.args[0].shape), None),
    "row_outer": _row_outer,
    "add_rows": lambda graph, node, ct: (None, graph.take(ct, node.args[0], axis=0)),
    "broadcast_to": lambda graph, node, ct: (ct,),
    "expand_dims": lambda graph, node, ct: (graph.squeeze(ct, node.attribute),),
    "squeeze": _unsqueeze,
}
