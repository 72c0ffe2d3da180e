"""Records in rows: a step in the form that schedules know, whichever way round its author wrote it.

A block may compute with a column for each record, as (Wᵀ aᵀ)ᵀ does. Each such value is replaced by its transpose here,
which has a row for each, and what reads it is written for that. Products in which a size is 1 become what they are:
products of numbers, and sums.
"""

from collections.abc import Sequence

from gdkernels.graph.derivative import topological
from gdkernels.graph.namespace import Graph
from gdkernels.graph.nodes import Dim, Node, Shape, broadcast_shapes, is_one
from gdkernels.graph.operations import ELEMENTWISE
from gdkernels.lowering.steps import has_dim

__all__ = ["upright"]

_REDUCTIONS = frozenset({"sum", "max", "min"})
_REPEATED = frozenset(ELEMENTWISE) | {"broadcast_to", "detach"}  # of which operands are stretched to the result


def upright(graph: Graph, batch: Dim, roots: Sequence[Node]) -> dict[int, Node]:
    """Return by the number of each node that some depend on what computes it; of records in columns, the transpose.

    Parameters
    ----------
    batch
        The size that counts records.
    roots
        Values without records in columns.
    """
    return _Turner(graph, batch).turned(topological(*roots))


class _Turner:
    def __init__(self, graph: Graph, batch: Dim) -> None:
        self.graph, self.batch = graph, batch
        self.made: dict[int, Node] = {}

    def turned(self, nodes: Sequence[Node]) -> dict[int, Node]:
        for node in nodes:
            self.made[node.id] = self._lying(node) if self._is_lying(node) else self._standing(node)
        return self.made

    def _is_lying(self, node: Node) -> bool:
        """Return whether a value has a column for each record."""
        return node.ndim == 2 and node.shape[1] is self.batch

    def _lying(self, node: Node) -> Node:
        """Return the transpose of a value with a column for each record."""
        shape = node.shape[::-1]
        if node.op == "transpose":
            return self.made[node.args[0].id]
        if node.op == "matmul":
            a, b = node.args
            return self._product(node, self.made[b.id], self._across(self.made[a.id]), shape)
        if node.op in _REPEATED:
            return self._again(node, tuple(map(self._tilted, node.args)), node.attribute, shape)
        if node.op in _REDUCTIONS:  # over the units: records of a sum over the batch are no columns
            return self._again(node, (self.made[node.args[0].id],), (1,), shape)
        if node.op == "expand_dims" and node.args[0].ndim == 1:
            return self.graph.expand_dims(self.made[node.args[0].id], axis=1)
        return self._across(self._again(node, tuple(map(self._as_it_was, node.args)), node.attribute, node.shape))

    def _standing(self, node: Node) -> Node:
        """Return any other value, of operands in rows."""
        lies = [self._is_lying(a) for a in node.args]
        if node.op == "matmul":
            a, b = map(self._as_it_was, node.args)
            return self._product(node, a, b, node.shape)
        if not any(lies):
            return self._again(node, tuple(self.made[a.id] for a in node.args), node.attribute, node.shape)
        value = self.made[node.args[0].id]
        if node.op == "transpose":
            return value
        if node.op == "squeeze" and node.attribute == (0,):
            return self.graph.squeeze(value, 1)
        if node.op in _REDUCTIONS:
            axes = tuple(sorted(1 - k for k in node.attribute))
            return self._across(self._again(node, (value,), axes, node.shape[::-1]))
        return self._again(node, tuple(map(self._as_it_was, node.args)), node.attribute, node.shape)

    def _product(self, node: Node, a: Node, b: Node, shape: Shape) -> Node:
        """Return a b, in place of `node` or of its transpose."""
        graph, batch = self.graph, self.batch
        rows, inner, columns = *a.shape, b.shape[1]
        if not any(map(is_one, (rows, inner, columns))) or not (has_dim(a, batch) or has_dim(b, batch)):
            return self._again(node, (a, b), None, shape)
        if is_one(inner):
            return self._own("multiply", node, (a, b), None, shape)
        over_batch = inner is batch
        if over_batch:  # aᵀ b, of rows
            factors, axis = (self._across(a), b), 0
        else:
            factors, axis = (a, self._across(b)), 1
        products = graph.apply("multiply", *factors)
        reduced: Shape = tuple(1 if k == axis else size for k, size in enumerate(products.shape))
        total = self._own("sum", node, (products,), (axis,), reduced)
        return self._across(total) if over_batch and not is_one(rows) else total

    # ---- operands

    def _as_it_was(self, operand: Node) -> Node:
        value = self.made[operand.id]
        return self.graph.matrix_transpose(value) if self._is_lying(operand) else value

    def _tilted(self, operand: Node) -> Node:
        """Return the transpose of an operand that is stretched to a value with a column for each record."""
        value = self.made[operand.id]
        if self._is_lying(operand) or not operand.ndim:
            return value
        return self._across(value) if operand.ndim == 2 else self.graph.expand_dims(value, axis=1)

    def _across(self, a: Node) -> Node:
        """Return the transpose of a matrix; that of a single row or column is the same numbers along the other axis."""
        graph = self.graph
        if a.op == "transpose":
            return a.args[0]
        rows, columns = map(is_one, a.shape)
        if rows and columns:
            return a
        if rows or columns:
            return graph.expand_dims(graph.squeeze(a, 0 if rows else 1), axis=1 if rows else 0)
        return graph.matrix_transpose(a)

    # ---- nodes

    def _again(self, node: Node, args: tuple[Node, ...], attribute: object, shape: Shape) -> Node:
        """Return `node` if it has these operands, or else its operation on them."""
        if all(a is b for a, b in zip(args, node.args, strict=True)):
            return node
        return self._own(node.op, node, args, attribute, shape)

    def _own(self, op: str, node: Node, args: tuple[Node, ...], attribute: object, shape: Shape) -> Node:
        """Return what stands for `node`: two that compute the same were kept apart, and stay so."""
        assert op not in ELEMENTWISE or broadcast_shapes(op, [a.shape for a in args]) == shape
        return self.graph.node(op, args, attribute, shape, node.dtype, key=("upright", node.id, op))
