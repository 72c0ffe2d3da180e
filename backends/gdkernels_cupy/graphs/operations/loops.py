"""Operations that pass over elements once: generated kernels, and the sums that complete what their blocks leave."""

from __future__ import annotations

from dataclasses import dataclass

from gdkernels.lowering.allocation import MemoryAccess
from gdkernels.lowering.elementwise import Recipe
from gdkernels_cupy.graphs.operations.buffers import DeviceBuffer

__all__ = ["ColumnSums", "LoopKernel", "LoopPass", "Total"]


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
