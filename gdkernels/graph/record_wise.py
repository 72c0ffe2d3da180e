"""The gradient of each record by itself: a graph in, and out of it a row of the Jacobian for each record.

An ordinary gradient sums over the records where a parameter meets them: in a product, or where a bias was repeated for
each. Here those places keep what each record adds: the row-wise outer product of a layer's inputs with its cotangents
in place of the matrix product, the cotangents themselves in place of their sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gdkernels.errors import InputError
from gdkernels.graph.derivative import Cotangents, shares_of, topological
from gdkernels.graph.moves import units
from gdkernels.graph.namespace import Graph
from gdkernels.graph.nodes import Dim, Node, is_one
from gdkernels.graph.operations import BOOL, INT, REAL

__all__ = ["RecordWise", "check_apart", "record_wise"]

_SHAPED = frozenset({"expand_dims", "squeeze"})  # which leave numbers in their order
_MIXED = (
    "a record must be computed by itself, whichever others are in its batch, and here something is computed of several "
    "records together: {}. A prediction would depend on the other records that it is asked for with. Compute along the "
    "units (axis=1), as blocks.LayerNorm does"
)


@dataclass(frozen=True)
class RecordWise:
    """The derivative of each record with respect to an array that all records share.

    Attributes
    ----------
    shared
        The array: a parameter, or what is computed of parameters before any record comes.
    columns
        Its derivative [records, numbers of the array], in the array's order.
    """

    shared: Node
    columns: Node


def record_wise(output: Node, wrt: Sequence[Node], cotangent: Node, records: Dim) -> list[RecordWise]:
    """Return the derivatives of each record of `output`, weighted by `cotangent`, where it meets the parameters.

    Parameters
    ----------
    output
        A node [records, outputs].
    wrt
        The parameters: inputs of the graph.
    cotangent
        A node of the shape of `output`: what each record's outputs are weighted by.
    records
        The size that counts records.

    Raises
    ------
    InputError
        If the network computes something of several records together.
    """
    check_apart(output, records)
    graph = output.graph
    nodes = topological(output)
    depends = {n.id for n in wrt}  # on a parameter
    for node in nodes:
        if any(a.id in depends for a in node.args):
            depends.add(node.id)
    of_records = {node.id for node in nodes if any(d is records for d in node.shape)}
    cotangents = Cotangents()
    cotangents.receive(output, graph.broadcast_to(cotangent, output.shape))
    found: dict[int, RecordWise] = {}
    for node in reversed(nodes):
        incoming = cotangents.of(node) if node.id in depends and node.id in of_records else None
        if incoming is None:
            continue
        for place, (operand, share, columns) in enumerate(shares_of(node, incoming)):
            if share is None or operand.id not in depends:
                continue
            if operand.id in of_records:
                cotangents.receive(operand, share, columns)
            else:
                shared, gained = _where_it_meets(graph, node, place, incoming, share, records)
                before = found.get(shared.id)
                found[shared.id] = RecordWise(shared, gained if before is None else before.columns + gained)
    return list(found.values())


def check_apart(output: Node, records: Dim) -> None:
    """Raise `InputError` if a record of `output` is computed of other records too, or of how many they are.

    Parameters
    ----------
    output
        A node [records, …].
    records
        The size that counts records.
    """

    def counts(node: Node) -> int:
        return sum(d is records for d in node.shape)

    for node in topological(output):
        if node.op == "dim" and node.attribute is records:
            raise InputError(_MIXED.format("the number of records enters"))
        if any(counts(a) for a in node.args) and counts(node) != 1:
            raise InputError(_MIXED.format(f"{node.op} of {' and '.join(str(list(a.shape)) for a in node.args)}"))


def _where_it_meets(
    graph: Graph, node: Node, place: int, incoming: Node, part: Node, records: Dim
) -> tuple[Node, Node]:
    """Return an array that all records share, and the derivative of each record with respect to it."""
    operand = node.args[place]
    if node.op == "matmul":
        other = node.args[1 - place]
        # The side of the records is the other operand's, whichever way round the product is written.
        left, right = (other, incoming) if place == 1 else (incoming.T, other.T)
        if operand.op == "transpose":
            operand, left, right = operand.args[0], right, left
        return _flat(operand), graph.row_outer(left, right)
    if node.op == "take":
        return _flat(operand), graph.row_outer(_one_hot(graph, node.args[1], operand), incoming)
    # What is left is done number by number: the operand was repeated for each record.
    part = graph.broadcast_to(part, node.shape)
    if len(node.shape) == 2 and node.shape[1] is records:
        part = part.T
        kept = operand.shape[:1] if operand.ndim == 2 else ()
    else:
        kept = operand.shape[-1:] if operand.ndim and len(node.shape) == 2 else ()
    if len(node.shape) == 1:
        part = graph.expand_dims(part, axis=1)
    if not kept or is_one(kept[0]):
        part = graph.sum(part, axis=1, keepdims=True)
    return _flat(operand), part


def _flat(a: Node) -> Node:
    """Return what `a` is but for axes of size 1."""
    while a.op in _SHAPED:
        a = a.args[0]
    return a


def _one_hot(graph: Graph, codes: Node, table: Node) -> Node:
    """Return [records, rows of the table]: 1 at the row that a record looks up."""
    if codes.op == "to_int":  # of numbers that are whole: those that compiled steps look rows up by
        codes = codes.args[0]
    numbers = graph.expand_dims(graph.astype(codes, REAL) if codes.dtype in (INT, BOOL) else codes, axis=1)
    columns = [graph.where(numbers == float(k), graph.ones_like(numbers), 0.0) for k in range(units(table.T))]
    return columns[0] if len(columns) == 1 else graph.concat(columns, axis=1)
