"""The kernel calls of a list: names, threads and arguments, with addresses in place of buffers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from gdkernels.lowering.elementwise import ELEMENT
from gdkernels.lowering.steps import NUMBER
from gdkernels.lowering.task import DATA
from gdkernels_cupy.graphs import operations as ops
from gdkernels_cupy.graphs.grouping import Launch, OperationGroup, RecordedTotal
from gdkernels_cupy.graphs.jobs import (
    FIXED,
    KernelJob,
    fixed_source,
    group_name,
    group_source,
    job_of_loop,
    kernel_source,
)
from gdkernels_cupy.graphs.launch_shapes import ACROSS, THREADS, LaunchShape, launch_shape_of
from gdkernels_cupy.graphs.operations import BYTES, DeviceBuffer, OperationList
from gdkernels_cupy.graphs.source import kernel_name, loop_job, preamble

__all__ = [
    "CONTROL",
    "DeviceAddresses",
    "KernelCall",
    "address_of",
    "calls_of",
    "fill_order",
    "jobs_of",
    "module_text",
    "next_batch",
]

_MOST_BLOCKS = 4096  # of a kernel whose threads take more numbers where there are more

CONTROL = ("step", "first", "order", "table", "records", *DATA)  # eight bytes each


class DeviceAddresses(Protocol):
    """The addresses of things on the device."""

    @property
    def control(self) -> int: ...

    @property
    def sums_at(self) -> int: ...

    def of(self, buffer: DeviceBuffer) -> int: ...

    def number(self, cell: int) -> int: ...

    def float32_number(self, cell: int) -> int: ...


@dataclass(frozen=True)
class KernelCall:
    """A kernel with its threads and arguments, each of the type that the kernel takes."""

    name: str
    shape: LaunchShape
    arguments: tuple[Any, ...]


Arguments = tuple[Any, ...]


def calls_of(
    operation: Launch | RecordedTotal, op_list: OperationList, batch: int, at: DeviceAddresses
) -> list[KernelCall]:
    """Return the calls for a launch that is no product.

    Parameters
    ----------
    batch
        The records of a full batch: how far the order moves on from step to step.
    """
    if isinstance(operation, OperationGroup):
        return _group(operation, op_list, batch, at)
    if isinstance(operation, ops.BeginStep):
        count = OperationList.FIRST + len(op_list.scalars)
        arguments: Arguments = (_p(at.control), _i(count), _p(at.number(0)), _p(at.float32_number(0)))
        return [KernelCall("begin", LaunchShape((1, 1), (32, 1)), arguments)]
    if isinstance(operation, ops.GatherRows):
        return [_gather(operation, at)]
    if isinstance(operation, ops.ColumnCopy):
        return [_copy_columns(operation, at)]
    if isinstance(operation, ops.TableLookUp):
        return [_look_up(operation, at)]
    if isinstance(operation, ops.RowOuter):
        return [_outer(operation, at)]
    if isinstance(operation, ops.SumByCode):
        return [_sum_by_code(operation, at)]
    if isinstance(operation, ops.LoopPass):
        return [_loop(operation, at)]
    if isinstance(operation, ops.ColumnSums):
        return [_column_sums(operation, at)]
    if isinstance(operation, ops.Total):
        return [
            KernelCall(f"total_{operation.parts.storage}", LaunchShape((1, 1), (THREADS, 1)), _total(operation, at))
        ]
    if isinstance(operation, RecordedTotal):
        arguments = (*_total(operation.total, at), *_record(operation.record, batch, at))
        name = f"total_record_{operation.total.parts.storage}"
        return [KernelCall(name, LaunchShape((1, 1), (THREADS, 1)), arguments)]
    if isinstance(operation, ops.Transpose):
        return [_transpose(operation, at)]
    if isinstance(operation, ops.Cast):
        source, target = operation.source, operation.target
        shape = launch_shape_of(source.rows, source.columns, row_wise=False)
        arguments = (_i(source.rows), _i(source.columns), *_matrix(source, at), *_matrix(target, at))
        return [KernelCall(f"cast_{source.storage}_{target.storage}", shape, arguments)]
    if isinstance(operation, ops.AddSpan):
        return [_add(operation, at)]
    if isinstance(operation, ops.KeepNumber):
        arguments = (_p(at.number(operation.number)), _p(at.of(operation.target)))
        return [KernelCall("keep_number", LaunchShape((1, 1), (1, 1)), arguments)]
    if isinstance(operation, ops.BiasRows):
        return [_bias_rows(operation, at)]
    assert isinstance(operation, ops.RecordNumbers)
    return [KernelCall("record", LaunchShape((1, 1), (1, 1)), _record(operation, batch, at))]


def _total(op: ops.Total, at: DeviceAddresses) -> Arguments:
    sizes = _i(op.parts.columns), _p(at.of(op.parts)), np.float64(op.factor)
    return *sizes, _p(at.number(op.number)), _i(op.accumulate)


def _record(op: ops.RecordNumbers, batch: int, at: DeviceAddresses) -> Arguments:
    first, second = (*op.numbers, 0, 0)[:2]  # the first number of a step is zero
    numbers = _p(at.number(first)), _p(at.number(second))
    return _i(len(op.numbers)), *numbers, _p(at.sums_at), _p(at.control), _l(batch)


def jobs_of(group: OperationGroup) -> tuple[KernelJob, ...]:
    """Return the jobs of a group's members."""
    nothing = OperationList((), (), {}, {}, (), 0)
    loops = [m.kernel for m in group.members if isinstance(m, ops.LoopPass)]
    known = FIXED | {job.name: job for job in map(job_of_loop, loops)}
    return tuple(known[call.name] for m in group.members for call in calls_of(m, nothing, 1, _Nowhere()))


class _Nowhere:
    """Addresses where only the names of kernels are asked for."""

    control = sums_at = 0

    def of(self, buffer: DeviceBuffer) -> int:
        return 0

    def number(self, cell: int) -> int:
        return 0

    float32_number = number


def _group(group: OperationGroup, op_list: OperationList, batch: int, at: DeviceAddresses) -> list[KernelCall]:
    calls = [call for member in group.members for call in calls_of(member, op_list, batch, at)]
    if len(calls) == 1:
        return calls
    shapes = [(*call.shape.grid, *call.shape.block) for call in calls]
    arguments = tuple(a for shape, call in zip(shapes, calls, strict=True) for a in (*map(_i, shape), *call.arguments))
    grid = sum(call.shape.blocks for call in calls), 1
    return [KernelCall(group_name(jobs_of(group)), LaunchShape(grid, (THREADS, 1)), arguments)]


def module_text(lists: Iterable[Iterable[Launch]]) -> str:
    """Return a module with the kernels of some lists of launches, each once."""
    launches = [launch for one in lists for launch in one]
    groups = [g for g in launches if isinstance(g, OperationGroup) and len(g.members) > 1]
    members = [m for g in launches if isinstance(g, OperationGroup) for m in g.members]
    alone = {kernel_source(op.kernel) for op in launches if isinstance(op, ops.LoopPass)}
    together = {loop_job(m.kernel) for m in members if isinstance(m, ops.LoopPass)}
    together = {text for text in together if not any(kernel.startswith(text) for kernel in alone)}
    kernels = {group_source(jobs_of(g)) for g in groups}
    return preamble() + fixed_source() + "".join((*sorted(alone), *sorted(together), *sorted(kernels)))


def address_of(span: ops.Span, at: DeviceAddresses) -> int:
    """Return where a span begins."""
    return at.of(span.buffers[0]) + span.first * BYTES[span.storage]


def _add(op: ops.AddSpan, at: DeviceAddresses) -> KernelCall:
    count = op.target.count
    shape = LaunchShape((max(1, min(-(-count // THREADS), _MOST_BLOCKS)), 1), (THREADS, 1))
    arguments = (_l(count), _p(address_of(op.source, at)), _p(address_of(op.target, at)))
    return KernelCall(f"add_{op.target.storage}", shape, arguments)


def next_batch(batch: int, at: DeviceAddresses) -> KernelCall:
    """Return the call that lets the next batch begin where the last one ended, for what is gathered ahead."""
    return KernelCall("next_batch", LaunchShape((1, 1), (1, 1)), (_p(at.control), _l(batch)))


def fill_order(words: int, first: int, count: int, order: int) -> KernelCall:
    """Return the call that writes the numbers of the records at some places of a keyed order."""
    shape = LaunchShape((min(-(-count // THREADS), _MOST_BLOCKS), 1), (THREADS, 1))
    return KernelCall("fill_order", shape, (_p(words), _l(first), _l(count), _p(order)))


def _gather(op: ops.GatherRows, at: DeviceAddresses) -> KernelCall:
    shape = launch_shape_of(op.rows, op.columns, row_wise=False)
    real = "float64" if op.target.storage == "float64" else "float32"
    arguments = (
        _p(at.control),
        _i(DATA.index(op.source)),
        _l(op.first),
        _i(op.rows),
        _i(op.columns),
        _p(at.of(op.target)),
        _l(op.pitch),
        _i(ops.TERMS if op.border else 0),
    )
    return KernelCall(f"gather_{real}_{op.target.storage}", shape, arguments)


def _bias_rows(op: ops.BiasRows, at: DeviceAddresses) -> KernelCall:
    weights = op.weights
    shape = launch_shape_of(weights.rows, weights.columns, row_wise=False)
    sizes = _i(weights.rows), _i(weights.columns), _i(op.rows), _i(op.columns)
    arguments = (*sizes, _i(ops.TERMS), _i(ops.TERMS if op.ones else 0), _p(at.of(op.bias)), *_matrix(weights, at))
    return KernelCall("bias_rows", shape, arguments)


def _copy_columns(op: ops.ColumnCopy, at: DeviceAddresses) -> KernelCall:
    real = "float64" if op.target.storage == "float64" else "float32"
    shape = launch_shape_of(op.rows, op.count, row_wise=False)
    source = (_p(0), _l(0)) if op.source is None else _columns(op.source, op.source_column, op.rows, at)
    arguments = (_i(op.rows), _i(op.count), *source, *_columns(op.target, op.column, op.rows, at))
    return KernelCall(f"copy_columns_{real}_{op.target.storage}", shape, arguments)


def _look_up(op: ops.TableLookUp, at: DeviceAddresses) -> KernelCall:
    table, target = op.table, op.target
    sizes = _i(target.rows), _i(table.columns)
    codes = (*_columns(op.codes, op.column, target.rows, at), _i(table.rows - 1))
    shape = launch_shape_of(target.rows, table.columns, row_wise=False)
    to = _p(at.of(target) + op.first * BYTES[target.storage]), _l(target.pitch)
    arguments = (*sizes, *codes, *_matrix(table, at), *to)
    return KernelCall(f"look_up_{table.storage}_{target.storage}", shape, arguments)


def _outer(op: ops.RowOuter, at: DeviceAddresses) -> KernelCall:
    left, right, target = op.left, op.right, op.target
    shape = launch_shape_of(left.rows, left.columns * right.columns, row_wise=False)
    sizes = _i(left.rows), _i(left.columns), _i(right.columns)
    to = _p(at.of(target) + op.first * BYTES[target.storage]), _l(target.pitch)
    return KernelCall(f"row_outer_{target.storage}", shape, (*sizes, *_matrix(left, at), *_matrix(right, at), *to))


def _sum_by_code(op: ops.SumByCode, at: DeviceAddresses) -> KernelCall:
    values, target = op.values, op.target
    sizes = _i(values.rows), _i(target.columns)
    codes = (*_columns(op.codes, op.column, values.rows, at), _i(target.rows - 1))
    shape = launch_shape_of(values.rows, target.columns, row_wise=False)
    added = _p(at.of(values) + op.first * BYTES[values.storage]), _l(values.pitch)
    arguments = (*sizes, *codes, *added, *_matrix(target, at))
    return KernelCall(f"sum_by_code_{target.storage}", shape, arguments)


def _columns(buffer: DeviceBuffer, column: int, rows: int, at: DeviceAddresses) -> tuple[Any, Any]:
    """Return where a column begins, and the elements from row to row: a vector is a single column."""
    step = buffer.pitch if buffer.rows == rows and (rows != 1 or buffer.columns != 1) else 1
    return _p(at.of(buffer) + column * BYTES[buffer.storage]), _l(step)


def _loop(op: ops.LoopPass, at: DeviceAddresses) -> KernelCall:
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
    shape = (
        LaunchShape((1, 1), (1, 1))
        if recipe.kind == NUMBER
        else launch_shape_of(op.rows, op.columns, row_wise=recipe.row_wise)
    )
    return KernelCall(kernel_name(op.kernel), shape, tuple(arguments))


def _column_sums(op: ops.ColumnSums, at: DeviceAddresses) -> KernelCall:
    values, target = op.values, op.target
    shape = LaunchShape((-(-values.columns // ACROSS), target.rows), (ACROSS, THREADS // ACROSS))
    sizes = _i(values.rows), _i(values.columns)
    arguments = (*sizes, *_matrix(values, at), _i(op.chunk), *_matrix(target, at), _i(op.accumulate))
    return KernelCall(f"column_sums_{target.storage}_{values.storage}", shape, arguments)


def _transpose(op: ops.Transpose, at: DeviceAddresses) -> KernelCall:
    source, target = op.source, op.target
    shape = LaunchShape((-(-source.rows // ACROSS), -(-source.columns // ACROSS)), (ACROSS, THREADS // ACROSS))
    arguments = (_i(source.rows), _i(source.columns), *_matrix(source, at), *_matrix(target, at))
    return KernelCall(f"transpose_{source.storage}", shape, arguments)


def _matrix(buffer: DeviceBuffer, at: DeviceAddresses) -> tuple[Any, Any]:
    return _p(at.of(buffer)), _l(buffer.pitch)


def _i(value: int) -> np.int32:
    return np.int32(value)


def _l(value: int) -> np.int64:
    return np.int64(value)


def _p(address: int) -> np.uint64:
    return np.uint64(address)
