"""Reverse-mode differentiation: a graph in, more of the same graph out.

The rules are chosen so that a slope is right where it is delicate: selections instead of products with 0 or 1 (so that
an infinity on the other branch does not become NaN), the value reused where the slope follows from it, ties split
evenly.
"""

import operator
from collections.abc import Callable, Sequence
from functools import reduce
from itertools import accumulate, pairwise

from gdkernels.graph.moves import units
from gdkernels.graph.namespace import Graph
from gdkernels.graph.nodes import Node, Shape, is_one
from gdkernels.graph.operations import BITWISE, COMPARISONS, CONVERSIONS, LOGICAL, SCALAR

__all__ = ["Cotangents", "shares_of", "topological", "vjp", "vjps"]

# What may be infinite, or have an infinite slope, at finite operands.
_UNBOUNDED = frozenset({"divide", "exp", "expm1", "log", "log1p", "pow", "sqrt"})

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
    cotangents = Cotangents()
    cotangents.receive(output, graph.broadcast_to(cotangent, output.shape))
    for node in reversed(nodes):
        incoming = cotangents.of(node) if node.id in leading and node.id not in wanted else None
        if incoming is not None:
            for operand, share, columns in shares_of(node, incoming):
                if share is not None and operand.id in leading:
                    cotangents.receive(operand, share, columns)
    found = [(n, cotangents.of(n)) for n in wrt]
    nothing = graph.lift(0.0)
    return [graph.broadcast_to(nothing, n.shape) if ct is None else ct for n, ct in found]


Stretch = tuple[int, int]  # columns, from one number to another


class Cotangents:
    """The derivatives of what is minimised with respect to nodes, as shares come in from those that read them.

    Shares of single columns, where they do not overlap, are put side by side: nothing is added to them but where more
    than one share meets a column.
    """

    def __init__(self) -> None:
        self._received: dict[int, list[tuple[Node, Stretch | None]]] = {}
        self._sums: dict[int, Node] = {}

    def receive(self, node: Node, share: Node, columns: Stretch | None = None) -> None:
        """Take a share for some columns of a node, or for all of it: that may be of a shape that it was repeated to."""
        share = unbroadcast(node.graph, share, node.shape) if columns is None else share
        self._received.setdefault(node.id, []).append((share, columns))

    def of(self, node: Node) -> Node | None:
        """Return the derivative with respect to a node that has all of its shares; None if it has none."""
        if node.id in self._received:
            layers: list[list[tuple[Node, Stretch | None]]] = []
            for share, columns in self._received.pop(node.id):
                met = [k for k, layer in enumerate(layers) if any(_overlap(columns, other) for _, other in layer)]
                at = met[-1] + 1 if met else 0  # after those that it is added to, in the order in which they came
                if at == len(layers):
                    layers.append([])
                layers[at].append((share, columns))
            self._sums[node.id] = reduce(operator.add, (_side_by_side(node, layer) for layer in layers))
        return self._sums.get(node.id)


def _overlap(a: Stretch | None, b: Stretch | None) -> bool:
    return a is None or b is None or (a[0] < b[1] and b[0] < a[1])


def _side_by_side(node: Node, shares: Sequence[tuple[Node, Stretch | None]]) -> Node:
    """Return shares of columns, which do not overlap, in an array of the shape of `node`, with 0 in the others."""
    graph, parts, at = node.graph, list[Node](), 0
    if shares[0][1] is None:
        return shares[0][0]

    def nothing(count: int) -> list[Node]:
        return [graph.broadcast_to(0.0, (node.shape[0], graph.width(count)))] if count else []

    for (first, last), share in sorted(((c, s) for s, c in shares if c is not None), key=lambda pair: pair[0]):
        parts += [*nothing(first - at), share]
        at = last
    return graph.broadcast_to(graph.concat([*parts, *nothing(units(node) - at)], axis=1), node.shape)


def shares_of(node: Node, cotangent: Node) -> list[tuple[Node, Node | None, Stretch | None]]:
    """Return each operand of a node, with its share of the node's cotangent, and the columns that this is for.

    A share is None where there is none; the columns are, where it is for the whole operand.
    """
    if node.op == "columns":
        return [(node.args[0], cotangent, node.attribute)]
    if node.op == "column":
        share = node.graph.expand_dims(cotangent, axis=1)
        return [(node.args[0], share, (node.attribute, node.attribute + 1))]
    return [(operand, share, None) for operand, share in zip(node.args, _shares(node, cotangent), strict=True)]


def _shares(node: Node, cotangent: Node) -> tuple[Node | None, ...]:
    """Return the cotangents of the operands; where a selection left a value out, they are 0 whatever its slope is.

    So ``xp.where(a > 0, xp.log(a), 0.0)`` has the slope 0 at 0, and not 0 times infinity.
    """
    rule, graph = _RULES[node.op], node.graph
    if cotangent.op != "where" or not _may_be_infinite(node):
        return rule(graph, node, cotangent)
    condition, chosen, other = cotangent.args
    guarded = any(a.op == "where" and a.args[0] is condition for a in node.args)  # the operands are harmless already
    if guarded or not (_is_nothing(chosen) or _is_nothing(other)):
        return rule(graph, node, cotangent)

    def selected(share: Node | None) -> Node | None:
        branches = (share, 0.0) if _is_nothing(other) else (0.0, share)
        return None if share is None else graph.apply("where", condition, *branches)

    return tuple(map(selected, _shares(node, chosen if _is_nothing(other) else other)))


def _may_be_infinite(node: Node) -> bool:
    """Return whether a value, or its slope, may be infinite where the operands are not."""
    if node.op == "multiply":
        return any(a.op in _UNBOUNDED for a in node.args)
    return node.op in _UNBOUNDED and not (node.op == "divide" and node.args[1].dtype == SCALAR)


def _is_nothing(a: Node) -> bool:
    return a.op == "constant" and a.attribute == 0


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
    if b.dtype == SCALAR:
        return ct * (b * a ** (b - 1.0)), None
    # 0 to a power that is not negative is 0 or 1 beside it too, and to the power of 0 everything is 1.
    settled = graph.apply("logical_and", graph.apply("equal", a, 0.0), graph.apply("greater_equal", b, 0.0))
    less = graph.apply("where", graph.apply("equal", b, 0.0), 0.0, b - 1.0)
    return ct * (b * a**less), ct * node * graph.apply("log", graph.apply("where", settled, 1.0, a))


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


def _row_product(graph: Graph, node: Node, ct: Node) -> tuple[Node | None, ...]:
    (a, b), (n, k, m, turned_a, turned_b) = node.args, node.attribute
    if turned_a:
        of_a = graph.row_product(b, ct, (k, m, n), (turned_b, True))
    else:
        of_a = graph.row_product(ct, b, (n, m, k), (False, not turned_b))
    if turned_b:
        of_b = graph.row_product(ct, a, (m, n, k), (True, turned_a))
    else:
        of_b = graph.row_product(a, ct, (k, n, m), (not turned_a, False))
    return of_a, of_b


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
    "concat": _concat,
    "take": lambda graph, node, ct: (graph.add_rows(node.args[1], ct, node.args[0].shape), None),
    "row_outer": _row_outer,
    "row_product": _row_product,
    "add_rows": lambda graph, node, ct: (None, graph.take(ct, node.args[0], axis=0)),
    "broadcast_to": lambda graph, node, ct: (ct,),
    "expand_dims": lambda graph, node, ct: (graph.squeeze(ct, node.attribute),),
    "squeeze": _unsqueeze,
}
