"""The compiled program as a list: what the device does, one operation after the other, and the memory between them.

The GPU executor runs exactly this list; a NumPy interpreter runs it too, so that transposes, pitches, accumulation and
the order of epilogues are tested on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

from gdkernels.graph.nodes import Node
from gdkernels.lowering.allocation import MemoryAccess
from gdkernels.lowering.elementwise import Recipe

__all__ = [
    "BYTES",
    "AddSpan",
    "BeginStep",
    "BiasRows",
    "Cast",
    "ColumnCopy",
    "ColumnSums",
    "DeviceBuffer",
    "ExchangeSpans",
    "GatherRows",
    "GatherSpans",
    "KeepNumber",
    "LoopKernel",
    "LoopPass",
    "MatrixProduct",
    "Operation",
    "OperationList",
    "ProductEpilogue",
    "RecordNumbers",
    "RowOuter",
    "Span",
    "SumByCode",
    "TableLookUp",
    "Total",
    "matrix",
    "padded",
    "vector",
    "with_border",
]

BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "uint8": 1}

# The parts in bfloat16 that a float32 bias is the sum of, so the ones that stand beside what its weights multiply.
TERMS = 3

# Elements that a thread takes at once; 16 bytes of the narrowest storage, so that every row can be loaded in vectors.
PITCH = 8


@dataclass(frozen=True)
class DeviceBuffer:
    """A matrix on the device: `pitch` elements from row to row; a vector is one row."""

    name: str
    rows: int
    columns: int
    pitch: int
    storage: str

    @property
    def bytes(self) -> int:
        return self.rows * self.pitch * BYTES[self.storage]


def matrix(name: str, rows: int, columns: int, storage: str) -> DeviceBuffer:
    """Return a matrix whose rows begin where vector loads may."""
    return DeviceBuffer(name, rows, columns, -(-columns // PITCH) * PITCH, storage)


def padded(columns: int) -> int:
    """Return the columns of a matrix to whose right there is a border of ones, and zeros up to where vectors end."""
    return -(-(columns + TERMS) // PITCH) * PITCH


def with_border(buffer: DeviceBuffer) -> DeviceBuffer:
    """Return the same memory with all the columns that it has."""
    return replace(buffer, columns=buffer.pitch)


def vector(name: str, size: int, storage: str) -> DeviceBuffer:
    return matrix(name, 1, size, storage)


@dataclass(frozen=True)
class BeginStep:
    """The numbers of this step become current: the host wrote those of all steps into a table."""

    def access(self) -> MemoryAccess:
        return MemoryAccess((), ())


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
class ProductEpilogue:
    """The operation that a product applies to its result before storing it.

    Attributes
    ----------
    kind
        "" for nothing; "bias" adds `bias`; "relu" and "gelu" add it if there is one, take that function, and write into
        `auxiliary`, if there is one, what its slope needs: where relu's argument was positive, in bits, and gelu's
        argument itself; "drelu" and "dgelu" make of the derivative by the function's value that by its argument, and
        write the sums of its columns into `bias`, if there is one; "sums" writes there those of the right operand.
    """

    kind: str = ""
    bias: DeviceBuffer | None = None
    auxiliary: DeviceBuffer | None = None

    @property
    def is_slope(self) -> bool:
        return self.kind in ("drelu", "dgelu")


@dataclass(frozen=True)
class MatrixProduct:
    """`out` = epilogue(`alpha` · left · right + `beta` · out), either operand transposed if so said.

    Attributes
    ----------
    alpha, beta
        Numbers, or the places of two numbers among those of the step.
    """

    left: DeviceBuffer
    right: DeviceBuffer
    out: DeviceBuffer
    transpose_left: bool = False
    transpose_right: bool = False
    alpha: float | int = 1.0
    beta: float | int = 0.0
    epilogue: ProductEpilogue = field(default_factory=ProductEpilogue)

    @property
    def accumulates(self) -> bool:
        return isinstance(self.beta, int) or self.beta != 0.0

    def access(self) -> MemoryAccess:
        e = self.epilogue
        reads = [self.left, self.right, *([self.out] if self.accumulates else [])]
        writes = [self.out]
        if e.bias is not None:
            (writes if e.is_slope or e.kind == "sums" else reads).append(e.bias)
        if e.auxiliary is not None:
            (reads if e.is_slope else writes).append(e.auxiliary)
        return MemoryAccess(tuple(b.name for b in reads), tuple((b.name, b.bytes) for b in writes))


@dataclass(frozen=True)
class LoopKernel:
    """The structure of a loop: one text serves every size.

    Attributes
    ----------
    real
        What it computes in: "float32" or "float64".
    reads
        The storage of each operand; "number" for one of the numbers of the step, which are float64.
    writes
        The storages into which each output goes.
    summed
        The outputs whose columns are summed on the way, before they are rounded to a storage.
    """

    recipe: Recipe
    real: str
    reads: tuple[str, ...]
    writes: tuple[tuple[str, ...], ...]
    summed: tuple[int, ...] = ()


@dataclass(frozen=True)
class LoopPass:
    """Elementwise work and reductions in one pass over `rows` · `columns`.

    Attributes
    ----------
    reads
        A buffer, or the place of a number, for each operand of the recipe.
    writes
        The buffers of each output; the place of a number for an output of a loop over numbers.
    reductions
        A vector with one number a row, or what the blocks of a total leave.
    column_parts
        What the blocks along the rows leave of the sums of columns: for each summed output, one row a block.
    """

    kernel: LoopKernel
    rows: int
    columns: int
    reads: tuple[DeviceBuffer | int, ...]
    writes: tuple[tuple[DeviceBuffer, ...] | int, ...]
    reductions: tuple[DeviceBuffer, ...]
    column_parts: tuple[DeviceBuffer, ...] = ()

    def access(self) -> MemoryAccess:
        reads = [b for b in self.reads if isinstance(b, DeviceBuffer)]
        written = [b for group in self.writes if isinstance(group, tuple) for b in group]
        pairs = [
            (r.name, w.name)
            for w in written
            for r in reads
            if (r.rows, r.columns, r.storage) == (self.rows, self.columns, w.storage)
        ]
        return MemoryAccess(
            tuple(b.name for b in reads),
            tuple((b.name, b.bytes) for b in (*written, *self.reductions, *self.column_parts)),
            tuple(pairs),
        )


@dataclass(frozen=True)
class ColumnSums:
    """`target` [parts, columns] = the sums of the columns of `values`, each over `chunk` rows of it.

    With `accumulate`, they are added to what it holds.
    """

    values: DeviceBuffer
    chunk: int
    target: DeviceBuffer
    accumulate: bool = False

    def access(self) -> MemoryAccess:
        reads = (self.values.name, *([self.target.name] if self.accumulate else []))
        return MemoryAccess(reads, ((self.target.name, self.target.bytes),))


@dataclass(frozen=True)
class Total:
    """A number = the sum of a vector, as the blocks of a loop leave one, times a factor; added to it if so said."""

    parts: DeviceBuffer
    number: int
    accumulate: bool
    factor: float = 1.0

    def access(self) -> MemoryAccess:
        return MemoryAccess((self.parts.name,), ())


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


@dataclass(frozen=True)
class RecordNumbers:
    """Numbers of this step are added to the sums over the run."""

    numbers: tuple[int, ...]

    def access(self) -> MemoryAccess:
        return MemoryAccess((), ())


@dataclass(frozen=True)
class Span:
    """Some numbers of buffers that lie one behind the other in memory, from the `first` of the first buffer on."""

    buffers: tuple[DeviceBuffer, ...]
    first: int
    count: int

    @property
    def storage(self) -> str:
        return self.buffers[0].storage

    @property
    def bytes(self) -> int:
        return self.count * BYTES[self.storage]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(b.name for b in self.buffers)

    @property
    def writes(self) -> tuple[tuple[str, int], ...]:
        return tuple((b.name, b.bytes) for b in self.buffers)


@dataclass(frozen=True)
class AddSpan:
    """The numbers of `source` are added to those of `target`."""

    source: Span
    target: Span

    def access(self) -> MemoryAccess:
        return MemoryAccess((*self.source.names, *self.target.names), self.target.writes)


@dataclass(frozen=True)
class KeepNumber:
    """A number of the step becomes the only one of `target`, before the next shard has it."""

    number: int
    target: DeviceBuffer

    def access(self) -> MemoryAccess:
        return MemoryAccess((), ((self.target.name, self.target.bytes),))


@dataclass(frozen=True)
class ExchangeSpans:
    """Spans go to other ranks, and others come from them: each with the rank, in the order in which both name them."""

    sent: tuple[tuple[int, Span], ...]
    received: tuple[tuple[int, Span], ...]

    def access(self) -> MemoryAccess:
        reads = dict.fromkeys(name for _, span in self.sent for name in span.names)
        return MemoryAccess(tuple(reads), tuple(w for _, span in self.received for w in span.writes))


@dataclass(frozen=True)
class GatherSpans:
    """`target` = the `mine` of every rank, as long as each other, one behind the other."""

    mine: Span
    target: Span

    def access(self) -> MemoryAccess:
        return MemoryAccess(self.mine.names, self.target.writes)


Operation = (
    BeginStep
    | GatherRows
    | ColumnCopy
    | TableLookUp
    | RowOuter
    | SumByCode
    | MatrixProduct
    | LoopPass
    | ColumnSums
    | Total
    | Cast
    | BiasRows
    | RecordNumbers
    | AddSpan
    | KeepNumber
    | ExchangeSpans
    | GatherSpans
)


@dataclass(frozen=True)
class OperationList:
    """A step, or a prediction, for some sizes.

    Attributes
    ----------
    operations
        In the order in which they run.
    lasting
        What is there before the first step and after the last: parameters, slots, their copies in bfloat16.
    parameters
        The buffers of parameters and slots by the names of their inputs.
    copies
        The copy of a parameter in bfloat16, by its name.
    scalars, numbers
        The numbers of a step that the host knows, and how many there are in all: zero, one, these, and the others.
    output
        What a prediction ends in.
    """

    FIRST: ClassVar[int] = 2  # before them come zero and one

    operations: tuple[Operation, ...]
    lasting: tuple[DeviceBuffer, ...]
    parameters: dict[str, DeviceBuffer]
    copies: dict[str, DeviceBuffer]
    scalars: tuple[Node, ...]
    numbers: int
    output: DeviceBuffer | None = None
