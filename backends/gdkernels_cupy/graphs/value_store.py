"""The storage of a step's values: parameters, gradients and those of a micro-batch, in the form that readers need."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace

from gdkernels.graph.nodes import Dim, Node
from gdkernels.lowering.steps import COLUMN, kind_of
from gdkernels_cupy.graphs.operations import DeviceBuffer, matrix, padded, vector

__all__ = ["MicroBatch", "ValueStore", "auxiliary", "size_of"]


@dataclass
class MicroBatch:
    """The places of a micro-batch's values, by the number of the node: in full, and as the operand of products.

    With `adds`, what is summed over the batch is added to the sums of those before it.
    """

    rows: int
    first: int
    piece: int
    adds: bool = False
    full: dict[int, DeviceBuffer] = field(default_factory=dict)
    operand: dict[int, DeviceBuffer] = field(default_factory=dict)
    column_parts: dict[int, DeviceBuffer] = field(default_factory=dict)
    auxiliaries: dict[int, DeviceBuffer] = field(default_factory=dict)


class ValueStore:
    """Gives values their buffers.

    Parameters
    ----------
    sizes
        The value of each dimension by its name.
    batch
        The dimension of the records.
    real
        The storage of loops.
    operands
        The storage of what products read where that is another one.
    multiplied, in_full
        What products read of the tile, and what is kept in the storage of loops, by the number of the node.
    bordered
        What has ones to its right as an operand.

    Attributes
    ----------
    gradients
        The sums over the batch so far, by the number of the node.
    """

    def __init__(
        self,
        sizes: Mapping[str, int],
        batch: Dim,
        real: str,
        operands: str | None,
        multiplied: Set[int],
        in_full: Set[int],
        bordered: Set[int] = frozenset(),
    ) -> None:
        self._sizes, self._batch, self._real, self._operands = sizes, batch, real, operands
        self._multiplied, self._in_full, self._bordered = multiplied, in_full, bordered
        self.gradients: dict[int, DeviceBuffer] = {}

    def parameter(self, name: str, node: Node) -> DeviceBuffer:
        """Return the buffer of a parameter or slot."""
        sizes = [self.size(d) for d in node.shape]
        return matrix(name, sizes[0], sizes[1], self._real) if len(sizes) == 2 else vector(name, sizes[0], self._real)

    def operand_copy(self, parameter: DeviceBuffer) -> DeviceBuffer:
        """Return the buffer of a parameter as products read it."""
        return matrix(f"{parameter.name} in bfloat16", parameter.rows, parameter.columns, "bfloat16")

    def size(self, dim: Dim | int) -> int:
        """Return the value of a dimension."""
        return size_of(dim, self._sizes)

    def new(self, node: Node, at: MicroBatch, storage: str) -> DeviceBuffer:
        """Return a new buffer for a value of a micro-batch."""
        name = f"{node.op} {node.id} of {at.piece} in {storage}"
        if kind_of(node, self._batch) == COLUMN:
            return vector(name, at.rows, storage)
        return matrix(name, at.rows, self.size(node.shape[1]), storage)

    def store(self, node: Node, at: MicroBatch) -> tuple[DeviceBuffer, ...]:
        """Return new buffers for a value of the tile: in full, as an operand, or both."""
        buffers = []
        if not self._operands or node.id not in self._multiplied or node.id in self._in_full:
            at.full[node.id] = self.new(node, at, self._real)
            buffers.append(at.full[node.id])
        if self._operands and node.id in self._multiplied:
            operand = self.new(node, at, self._operands)
            if node.id in self._bordered:
                operand = replace(operand, pitch=padded(operand.columns))
            at.operand[node.id] = operand
            buffers.append(at.operand[node.id])
        return tuple(buffers)

    def operand(self, node: Node, at: MicroBatch) -> DeviceBuffer:
        """Return where products find a value."""
        return at.operand[node.id] if node.id in at.operand else at.full[node.id]

    def gradient(self, node: Node) -> DeviceBuffer:
        """Return where a sum over the batch is, the same for all micro-batches."""
        if node.id not in self.gradients:
            self.gradients[node.id] = self.sum_over_rows(node, f"gradient {node.id}")
        return self.gradients[node.id]

    def sum_over_rows(self, node: Node, name: str) -> DeviceBuffer:
        """Return a new buffer for a sum over the batch."""
        sizes = [self.size(d) for d in node.shape if isinstance(d, Dim)]
        return matrix(name, sizes[0], sizes[1], self._real) if len(sizes) == 2 else vector(name, sizes[0], self._real)


def size_of(dim: Dim | int, sizes: Mapping[str, int]) -> int:
    """Return the value of a dimension."""
    return sizes[dim.name] if isinstance(dim, Dim) else dim


def auxiliary(kind: str, name: str, result: DeviceBuffer) -> DeviceBuffer:
    """Return what a function leaves for its slope: gelu its argument; relu a bit for each element of its value.

    cuBLAS wants rows of a multiple of 8 elements, or of 128 bits.
    """
    if kind == "gelu":
        return matrix(name, result.rows, result.columns, result.storage)
    bits = -(-result.columns // 128) * 128
    return DeviceBuffer(name, result.rows, bits // 8, bits // 8, "uint8")
