"""The cost of a graph: floating-point operations, bytes, and memory, for given sizes."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gdkernels.graph.derivative import topological
from gdkernels.graph.nodes import Dim, Node
from gdkernels.graph.operations import COMPARISONS, ELEMENTWISE, INT, LOGICAL, MOVES, SCALAR

__all__ = ["Cost", "cost"]

_FREE = frozenset({"input", "constant", "dim", "detach", "transpose", "broadcast_to", "expand_dims", "squeeze"})
_NO_ARITHMETIC = COMPARISONS | LOGICAL | {"where", "abs", "negative", "sign"}
_BYTES = {"bool": 1, INT: 4}


@dataclass(frozen=True)
class Cost:
    """The cost of computing some nodes once.

    Attributes
    ----------
    operations
        How many have to be done; transposing, broadcasting and the like are free.
    product_flops
        Floating-point operations in matrix products: 2·m·n·k each.
    other_flops
        One for each element of an elementwise result and of what is reduced; selections, signs and integers count
        nothing.
    bytes_least
        Bytes of the inputs read once and the outputs written once: what no execution can avoid.
    bytes_unfused
        Bytes moved if every operation reads its operands from memory and writes its result.
    bytes_kept
        Bytes of all the results, if none is ever freed.
    """

    operations: int
    product_flops: int
    other_flops: int
    bytes_least: int
    bytes_unfused: int
    bytes_kept: int

    @property
    def flops(self) -> int:
        return self.product_flops + self.other_flops


def cost(outputs: Iterable[Node], sizes: Mapping[str, int], *, itemsize: int) -> Cost:
    """Return what computing `outputs` costs.

    Parameters
    ----------
    outputs
        Nodes of one graph.
    sizes
        The value of each size, by its name.
    itemsize
        Bytes of a real number in the program's precision; conditions count one byte, integers four.
    """
    wanted = list(outputs)

    def elements(node: Node) -> int:
        return math.prod(sizes[d.name] if isinstance(d, Dim) else d for d in node.shape)

    def size(node: Node) -> int:
        if node.dtype == SCALAR:
            return 0
        return elements(node) * _BYTES.get(node.dtype, itemsize)

    operations = product_flops = other_flops = moved = kept = read = 0
    for node in topological(*wanted):
        if node.op == "input":
            read += size(node)
        if node.op in _FREE or node.dtype == SCALAR:
            continue
        operations += 1
        # Of a table, only the rows that are looked up are read.
        moved += 2 * size(node) if node.op in MOVES else size(node) + sum(size(a) for a in node.args)
        kept += size(node)
        if node.op == "matmul":
            inner = node.args[0].shape[1]
            product_flops += 2 * elements(node) * (sizes[inner.name] if isinstance(inner, Dim) else inner)
        elif node.op == "row_product":
            product_flops += 2 * elements(node) * node.attribute[1]
        elif node.op == "row_outer":
            other_flops += elements(node)
        elif node.op == "add_rows":
            other_flops += elements(node.args[1])
        elif node.op in MOVES:
            continue
        elif node.op in ELEMENTWISE:
            other_flops += 0 if node.op in _NO_ARITHMETIC or node.dtype == INT else elements(node)
        else:
            other_flops += elements(node.args[0])
    written = sum(size(n) for n in {n.id: n for n in wanted}.values())
    return Cost(operations, product_flops, other_flops, read + written, moved, kept)
