"""Operations that move rows and columns: from the caller's arrays, from tables, from one storage to another."""

from __future__ import annotations

from dataclasses import dataclass

from gdkernels.lowering.allocation import MemoryAccess
from gdkernels_cupy.graphs.operations.buffers import DeviceBuffer

__all__ = ["BiasRows", "Cast", "ColumnCopy", "GatherRows", "RowOuter", "SumByCode", "TableLookUp", "Transpose"]


@dataclass(frozen=True)
class GatherRows:
    """The rows of an array of the caller's that are next in the order, from the `first` of the batch on.

    Attributes
    ----------
    source
        The array by the name of its input.
    rows, columns
        How many; the target of a single column is a vector.
    target
        Where they go, in its storage.
    border
        Whether ones and zeros follow each of them.
    """

    source: str
    first: int
    rows: int
    columns: int
    target: DeviceBuffer
    border: bool = False

    @property
    def pitch(self) -> int:
        return self.target.pitch if self.target.rows > 1 or self.rows == 1 else 1

    def access(self) -> MemoryAccess:
        return MemoryAccess((), ((self.target.name, self.target.bytes),))


@dataclass(frozen=True)
class ColumnCopy:
    """Some columns of one matrix, or 0 where there is no source, become columns of another, in its storage.

    A vector is a matrix of a single column here.

    Attributes
    ----------
    source_column, column
        The first of them in the source, and in the target.
    rows, count
        How many rows, and how many columns.
    """

    source: DeviceBuffer | None
    source_column: int
    target: DeviceBuffer
    column: int
    rows: int
    count: int

    def access(self) -> MemoryAccess:
        reads = () if self.source is None else (self.source.name,)
        return MemoryAccess(reads, ((self.target.name, self.target.bytes),))


@dataclass(frozen=True)
class TableLookUp:
    """For each row, the row of a table whose number stands in a column of `codes`, in the target's storage.

    Attributes
    ----------
    first
        The column of the target that the first one becomes.
    """

    codes: DeviceBuffer
    column: int
    table: DeviceBuffer
    target: DeviceBuffer
    first: int

    def access(self) -> MemoryAccess:
        return MemoryAccess((self.codes.name, self.table.name), ((self.target.name, self.target.bytes),))


@dataclass(frozen=True)
class RowOuter:
    """For each row, the products of all numbers of `left` with all of `right` become columns of the target.

    Attributes
    ----------
    first
        The column of the target that the first one becomes.
    """

    left: DeviceBuffer
    right: DeviceBuffer
    target: DeviceBuffer
    first: int

    def access(self) -> MemoryAccess:
        return MemoryAccess((self.left.name, self.right.name), ((self.target.name, self.target.bytes),))


@dataclass(frozen=True)
class SumByCode:
    """Each row of `values` is added to that row of `target` whose number stands in a column of `codes`, in turn.

    Attributes
    ----------
    first
        The first of the columns of `values` that are added.
    """

    codes: DeviceBuffer
    column: int
    values: DeviceBuffer
    target: DeviceBuffer
    first: int

    def access(self) -> MemoryAccess:
        reads = (self.codes.name, self.values.name, self.target.name)
        return MemoryAccess(reads, ((self.target.name, self.target.bytes),))


@dataclass(frozen=True)
class Transpose:
    """`target` = the matrix `source`, transposed, in the same storage."""

    source: DeviceBuffer
    target: DeviceBuffer

    def access(self) -> MemoryAccess:
        return MemoryAccess((self.source.name,), ((self.target.name, self.target.bytes),))


@dataclass(frozen=True)
class Cast:
    """A copy in another storage: weights as the operand of products in bfloat16."""

    source: DeviceBuffer
    target: DeviceBuffer

    def access(self) -> MemoryAccess:
        return MemoryAccess((self.source.name,), ((self.target.name, self.target.bytes),))


@dataclass(frozen=True)
class BiasRows:
    """The border of weights in bfloat16: below them the parts of the bias, which ones in the other operand add.

    Attributes
    ----------
    weights
        With the border. What else it has is zero.
    rows, columns
        Of the weights without it.
    ones
        Whether the product shall end in ones itself, for the next product: then they stand right of the first part.
    """

    bias: DeviceBuffer
    weights: DeviceBuffer
    rows: int
    columns: int
    ones: bool

    def access(self) -> MemoryAccess:
        return MemoryAccess((self.bias.name,), ((self.weights.name, self.weights.bytes),))
