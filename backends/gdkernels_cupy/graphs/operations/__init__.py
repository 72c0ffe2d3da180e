"""What the device does in a step, as values: each operation says what it reads and writes, and none of them runs.

The GPU executor runs exactly such a list. A NumPy interpreter runs it too (`gdkernels_cupy.graphs.interpret`), so that
transposes, pitches, accumulation and the order of epilogues are tested on every machine.
"""

from gdkernels_cupy.graphs.operations.buffers import (
    BYTES,
    TERMS,
    DeviceBuffer,
    Span,
    matrix,
    padded,
    vector,
    with_border,
)
from gdkernels_cupy.graphs.operations.loops import ColumnSums, LoopKernel, LoopPass, Total
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
from gdkernels_cupy.graphs.operations.operation_list import BeginStep, Operation, OperationList, RecordNumbers
from gdkernels_cupy.graphs.operations.products import MatrixProduct, ProductEpilogue
from gdkernels_cupy.graphs.operations.shards import AddSpan, ExchangeSpans, GatherSpans, KeepNumber

__all__ = [
    "BYTES",
    "TERMS",
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
    "Transpose",
    "matrix",
    "padded",
    "vector",
    "with_border",
]
