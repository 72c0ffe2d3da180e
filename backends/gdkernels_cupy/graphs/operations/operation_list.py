"""The compiled program as a list: what the device does in a step or a prediction, one operation after the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gdkernels.graph.nodes import Node
from gdkernels.lowering.allocation import MemoryAccess
from gdkernels_cupy.graphs.operations.buffers import DeviceBuffer
from gdkernels_cupy.graphs.operations.loops import ColumnSums, LoopPass, Total
from gdkernels_cupy.graphs.operations.moves import (
    BiasRows,
    Cast,
    ColumnCopy,
    GatherRows,
    RowOuter,
    SumByCode,
    TableLookUp,
    Transpose,
)
from gdkernels_cupy.graphs.operations.products import MatrixProduct
from gdkernels_cupy.graphs.operations.shards import AddSpan, ExchangeSpans, GatherSpans, KeepNumber

__all__ = ["BeginStep", "Operation", "OperationList", "RecordNumbers"]


@dataclass(frozen=True)
class BeginStep:
    """The numbers of this step become current: the host wrote those of all steps into a table."""

    def access(self) -> MemoryAccess:
        return MemoryAccess((), ())


@dataclass(frozen=True)
class RecordNumbers:
    """Numbers of this step are added to the sums over the run."""

    numbers: tuple[int, ...]

    def access(self) -> MemoryAccess:
        return MemoryAccess((), ())


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
    | Transpose
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
