"""A step as text, free of the names of classes and buffers: choices on disk are found by it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from gdkernels_cupy.graphs import operations as ops
from gdkernels_cupy.graphs.operations import DeviceBuffer, LoopKernel, Operation
from gdkernels_cupy.graphs.source import kernel_name

__all__ = ["step_text"]

# These words stand in the keys of files: a class may be renamed, its word may not.
_WORDS: dict[type, str] = {
    ops.BeginStep: "begin",
    ops.GatherRows: "gather",
    ops.ColumnCopy: "copy columns",
    ops.TableLookUp: "look up rows",
    ops.RowOuter: "outer of rows",
    ops.SumByCode: "sum by code",
    ops.MatrixProduct: "product",
    ops.LoopPass: "loop",
    ops.ColumnSums: "column sums",
    ops.Total: "total",
    ops.Transpose: "transpose",
    ops.Cast: "cast",
    ops.BiasRows: "bias rows",
    ops.RecordNumbers: "record",
    ops.AddSpan: "add",
    ops.KeepNumber: "keep",
    ops.ExchangeSpans: "exchange",
    ops.GatherSpans: "gather ranks",
}


def step_text(operations: Iterable[Operation]) -> str:
    """Return the operations of a step as text: equal for equal work, whatever classes and buffers are called."""
    buffers: dict[str, int] = {}
    return json.dumps([[_WORDS[type(op)], *_values(op, buffers)] for op in operations])


def _values(thing: Any, buffers: dict[str, int]) -> list[Any]:
    return [_plain(getattr(thing, field.name), buffers) for field in fields(thing)]


def _plain(value: Any, buffers: dict[str, int]) -> Any:
    if isinstance(value, DeviceBuffer):
        number = buffers.setdefault(value.name, len(buffers))
        return ["buffer", number, value.rows, value.columns, value.pitch, value.storage]
    if isinstance(value, LoopKernel):
        return kernel_name(value)  # the digest of its text
    if isinstance(value, ops.ProductEpilogue | ops.Span):
        return _values(value, buffers)
    if isinstance(value, tuple):
        return [_plain(v, buffers) for v in value]
    return value
