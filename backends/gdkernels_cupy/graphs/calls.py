"""The kernel calls of a list: names, threads and arguments, with addresses in place of buffers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from gdkernels.lowering.elementwise import ELEMENT
from gdkernels.lowering.steps import NUMBER
from gdkernels.lowering.task import DATA
from gdkernels_cupy.graphs import operations as ops
from gdkernels_cupy.graphs.launch_shapes import ACROSS, THREADS, Shape, shape_of
from gdkernels_cupy.graphs.operations import Buffer, Listing
from gdkernels_cupy.graphs.source import kernel_name

__all__ = ["CONTROL", "Addresses", "Call", "calls_of", "next_batch"]

CONTROL = ("step", "first", "order", "table", "records", *DATA)  # eight bytes each


class Addresses(Protocol):
    """Where things are on the device."""

    @property
    def control(self) -> int: ...

    @property
    def sums_at(self) -> int: ...

    def of(self, buffer: Buffer) -> int: ...

    def number(self, place: int) -> int: ...

    def narrow_number(self, place: int) -> int: ...


@dataclass(frozen=True)
class Call:
    """A kernel with its threads and arguments, each of the type that the kernel takes."""

    name: str
    shape: Shape
    arguments: tuple[Any, ...]


Arguments = tuple[Any, ...]


def calls_of(operation: ops.Operation, listing: Listing, batch: int, at: Addresses) -> list[Call]:
    """Return the calls for an operation that is no product.

    Parameters
    ----------
    batch
        The records of a full batch: how far the order moves on from step to step.
    """
    if isinstance(operation, ops.Begin):
        count = Listing.FIRST + len(listing.scalars)
        arguments: Arguments = (_p(at.control), _i(count), _l(batch), _p(at.number(0)), _p(at.narrow_number(0)))
        return [Call("begin", Shape((1, 1), (32, 1)), arguments)]
    if isinstance(operation, ops.Gather):
        return [_gather(operation, at)]
    if isinstance(operation, ops.Loop):
        return [_loop(operation, at)]
    if isinstance(operation, ops.ColumnSums):
        return [_column_sums(operation, at)]
    if isinstance(operation, ops.Total):
        parts = operation.parts
        arguments = (_i(parts.columns), _p(at.of(parts)), _p(at.number(operation.number)), _i(operation.accumulate))
        return [Call("total", Shape((1, 1), (THREADS, 1)), arguments)]
    if isinstance(operation, ops.Cast):
        source, target = operation.source, operation.target
        shape = shape_of(source.rows, source.columns, row_wise=False)
        arguments = (_i(source.rows), _i(source.columns), *_matrix(source, at), *_matrix(target, at))
        return [Call(f"cast_{source.storage}_{target.storage}", shape, arguments)]
    assert isinstance(operation, ops.Record)
    first, *rest = operation.numbers
    second = rest[0] if rest else first
    arguments = (_i(len(operation.numbers)), _p(at.number(first)), _p(at.number(second)), _p(at.sums_at))
    return [Call("record", Shape((1, 1), (1, 1)), arguments)]


def next_batch(batch: int, at: Addresses) -> Call:
    """Return the call that lets the next batch begin where the last one ended, for what is gathered ahead."""
    return Call("next_batch", Shape((1, 1), (1, 1)), (_p(at.control), _l(batch)))


def _gather(op: ops.Gather, at: Addresses) -> Call:
    shape = shape_of(op.rows, op.columns, row_wise=False)
    real = "float64" if op.target.storage == "float64" else "float32"
    arguments = (
        _p(at.control),
        _i(DATA.index(op.source)),
        _l(op.first),
        _i(op.rows),
        _i(op.columns),
        _p(at.of(op.target)),
        _l(op.pitch),
    )
    return Call(f"gather_{real}_{op.target.storage}", shape, arguments)


def _loop(op: ops.Loop, at: Addresses) -> Call:
    recipe = op.kernel.recipe
    arguments: list[Any] = [_i(op.rows), _i(op.columns)]
    rates = [i.rate for i in recipe.code if i.op == "load"]
    for read, rate in zip(op.reads, rates, strict=True):
        arguments.append(_p(at.number(read) if isinstance(read, int) else at.of(read)))
        if rate == ELEMENT:
            arguments.append(_l(0 if isinstance(read, int) else read.pitch))
    for written in op.writes:
        if isinstance(written, int):
            arguments.append(_p(at.number(written)))
        else:
            for buffer in written:
                arguments += _matrix(buffer, at)
    arguments += [_p(at.of(buffer)) for buffer in op.reductions]
    for buffer in op.column_parts:
        arguments += _matrix(buffer, at)
    shape = Shape((1, 1), (1, 1)) if recipe.kind == NUMBER else shape_of(op.rows, op.columns, row_wise=recipe.row_wise)
    return Call(kernel_name(op.kernel), shape, tuple(arguments))


def _column_sums(op: ops.ColumnSums, at: Addresses) -> Call:
    values, target = op.values, op.target
    shape = Shape((-(-values.columns // ACROSS), target.rows), (ACROSS, THREADS // ACROSS))
    sizes = _i(values.rows), _i(values.columns)
    arguments = (*sizes, *_matrix(values, at), _i(op.chunk), *_matrix(target, at), _i(op.accumulate))
    return Call(f"column_sums_{target.storage}_{values.storage}", shape, arguments)


def _matrix(buffer: Buffer, at: Addresses) -> tuple[Any, Any]:
    return _p(at.of(buffer)), _l(buffer.pitch)


def _i(value: int) -> np.int32:
    return np.int32(value)


def _l(value: int) -> np.int64:
    return np.int64(value)


def _p(address: int) -> np.uint64:
    return np.uint64(address)
