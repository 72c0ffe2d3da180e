"""The list of operations on NumPy, in host memory: what the device has to come to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from gdkernels.graph import value_and_pullback
from gdkernels.lowering.allocation import allocate
from gdkernels.lowering.elementwise import ROW, Recipe
from gdkernels_cupy.graphs import operations as ops
from gdkernels_cupy.graphs.epilogue_fusion import FUSED_ACTIVATIONS
from gdkernels_cupy.graphs.operations import BYTES, DeviceBuffer, OperationList

__all__ = ["Interpreter", "from_bfloat16", "round_to_tf32", "to_bfloat16"]

Array = npt.NDArray[Any]

_DTYPES = {"float64": np.float64, "float32": np.float32, "bfloat16": np.uint16, "uint8": np.uint8}
_NAMES: dict[str, Callable[..., Any]] = {
    "pow": np.power,
    "to_int": lambda a: a.astype(np.int32),
    "integer_add": np.add,
    "integer_subtract": np.subtract,
    "integer_multiply": np.multiply,
    "bitwise_left_shift": np.left_shift,
    "bitwise_right_shift": np.right_shift,
    "integer_loaded": lambda a: a.view(np.int32) if a.dtype == np.float32 else a.astype(np.int32),
}


class Interpreter:
    """Runs a list in memory of its own, which is NaN wherever nothing has been written.

    Parameters
    ----------
    precision
        That of the products: "tf32" rounds their operands, as the matrix unit does.
    """

    def __init__(self, op_list: OperationList, precision: str) -> None:
        self.op_list, self.precision = op_list, precision
        lasting = [(b.name, b.bytes) for b in op_list.lasting]
        self.offsets, size = allocate([op.access() for op in op_list.operations], lasting)
        self.memory = np.full(size, 0xFF, np.uint8)
        self.numbers = np.full(op_list.numbers, np.nan)
        self.sums = np.zeros(2)
        self._run: dict[type, Callable[[Any], None]] = {
            ops.BeginStep: self._begin,
            ops.GatherRows: self._gather,
            ops.ColumnCopy: self._copy_columns,
            ops.TableLookUp: self._look_up,
            ops.RowOuter: self._outer,
            ops.SumByCode: self._sum_by_code,
            ops.MatrixProduct: self.multiply,
            ops.LoopPass: self._loop,
            ops.ColumnSums: self._column_sums,
            ops.Total: self._total,
            ops.Transpose: self._transpose,
            ops.Cast: self._cast,
            ops.BiasRows: self._bias_rows,
            ops.RecordNumbers: self._record,
            ops.AddSpan: self._add,
            ops.KeepNumber: self._keep,
        }

    # ---- in and out

    def bits(self, buffer: DeviceBuffer) -> Array:
        """Return a view of the memory of `buffer` [rows, columns], in its storage."""
        at = self.offsets[buffer.name]
        size = BYTES[buffer.storage]
        flat = self.memory[at : at + buffer.bytes].view(_DTYPES[buffer.storage])
        shape, strides = (buffer.rows, buffer.columns), (buffer.pitch * size, size)
        return np.lib.stride_tricks.as_strided(flat, shape, strides)

    def read(self, buffer: DeviceBuffer) -> Array:
        bits = self.bits(buffer)
        return from_bfloat16(bits) if buffer.storage == "bfloat16" else bits

    def write(self, buffer: DeviceBuffer, values: Any) -> None:
        self.bits(buffer)[...] = to_bfloat16(values) if buffer.storage == "bfloat16" else values

    def with_memory(self, memory: Array) -> Self:
        """Return an interpreter of the same buffers in other memory."""
        other = copy(self)
        other.memory = memory
        return other

    def load(self, parameters: Mapping[str, Array]) -> None:
        """Bring parameters and slots in, and make their copies."""
        for name, buffer in self.op_list.parameters.items():
            self.write(buffer, parameters[name])
        for name, copied in self.op_list.copies.items():
            self.write(copied, self.read(self.op_list.parameters[name]))

    def store(self) -> dict[str, Array]:
        """Return parameters and slots, all as matrices: one of a single dimension is a row."""
        return {name: self.read(buffer).copy() for name, buffer in self.op_list.parameters.items()}

    # ---- a step

    def step(self, arrays: Mapping[str, Array], order: npt.NDArray[np.int64], scalars: npt.NDArray[np.float64]) -> None:
        """Run the list once.

        Parameters
        ----------
        arrays
            The caller's, by the names of the inputs.
        order
            The rows of this batch.
        scalars
            The numbers of this step that the host knows.
        """
        self._arrays, self._order, self._scalars = arrays, order, scalars
        with np.errstate(all="ignore"):
            for operation in self.op_list.operations:
                self._run[type(operation)](operation)

    def _begin(self, op: ops.BeginStep) -> None:
        first = OperationList.FIRST
        self.numbers[:first] = 0.0, 1.0
        self.numbers[first : first + len(self._scalars)] = self._scalars

    def _gather(self, op: ops.GatherRows) -> None:
        rows = self._arrays[op.source][self._order[op.first : op.first + op.rows]]
        self.write(op.target, rows.reshape(op.target.rows, op.target.columns))  # of a single column, a vector
        if op.border:
            border = np.zeros(op.target.pitch - op.columns, np.float32)
            border[: ops.TERMS] = 1.0
            self.bits(ops.with_border(op.target))[:, op.columns :] = to_bfloat16(border)

    def _copy_columns(self, op: ops.ColumnCopy) -> None:
        values: Any = 0.0
        if op.source is not None:
            values = _as_columns(self.read(op.source), op.rows)[:, op.source_column : op.source_column + op.count]
        place = _as_columns(self.bits(op.target), op.rows)[:, op.column : op.column + op.count]
        place[...] = to_bfloat16(values) if op.target.storage == "bfloat16" else values

    def _look_up(self, op: ops.TableLookUp) -> None:
        rows = self.read(op.table)[self._codes(op.codes, op.column, op.table.rows)]
        place = self.bits(op.target)[:, op.first : op.first + op.table.columns]
        place[...] = to_bfloat16(rows) if op.target.storage == "bfloat16" else rows

    def _outer(self, op: ops.RowOuter) -> None:
        left, right = self.read(op.left), self.read(op.right)
        products = (left[:, :, None] * right[:, None, :]).reshape(len(left), -1)
        self.bits(op.target)[:, op.first : op.first + products.shape[1]] = products

    def _sum_by_code(self, op: ops.SumByCode) -> None:
        values = self.read(op.values)[:, op.first : op.first + op.target.columns]
        np.add.at(self.bits(op.target), self._codes(op.codes, op.column, op.target.rows), values)

    def _codes(self, codes: DeviceBuffer, column: int, rows: int) -> npt.NDArray[np.int64]:
        return np.asarray(np.clip(np.nan_to_num(self.read(codes)[:, column]), 0, rows - 1), np.int64)

    def multiply(self, op: ops.MatrixProduct) -> None:
        """Run one product with its epilogue."""
        left, right = self._operand(op.left), self._operand(op.right)
        left = left.T if op.transpose_left else left
        right = right.T if op.transpose_right else right
        wide = np.float64 if left.dtype == np.float64 else np.float32
        alpha, beta = (wide(self.numbers[n]) if isinstance(n, int) else wide(n) for n in (op.alpha, op.beta))
        result = alpha * (left @ right)
        if op.accumulates:
            result = result + beta * self.read(op.out)
        e = op.epilogue
        if e.is_slope:
            result = self._slope(e, result)
        if e.bias is not None and (e.is_slope or e.kind == "sums"):
            self.write(e.bias, (result if e.is_slope else self.read(op.right)).sum(axis=0))
        elif e.bias is not None:
            result = result + self.read(e.bias)
        if e.auxiliary is not None and not e.is_slope:
            self.write(e.auxiliary, _packed(result > 0, e.auxiliary.columns) if e.kind == "relu" else result)
        self.write(op.out, FUSED_ACTIVATIONS[e.kind](result, xp=np) if e.kind in FUSED_ACTIVATIONS else result)

    def _slope(self, e: ops.ProductEpilogue, cotangent: Array) -> Array:
        """Return the derivative by an activation's argument, from that by its value and what the way forward left."""
        assert e.auxiliary is not None
        if e.kind == "drelu":
            bits = self.bits(e.auxiliary)
            positive = np.unpackbits(bits, axis=1, count=cotangent.shape[1], bitorder="little")
            return np.where(positive, cotangent, 0)
        _, pull_back = value_and_pullback(FUSED_ACTIVATIONS["gelu"], elementwise=True)(self.read(e.auxiliary), xp=np)
        result: Array = pull_back(cotangent)
        return result

    def _operand(self, buffer: DeviceBuffer) -> Array:
        values = self.read(buffer)
        return round_to_tf32(values) if self.precision == "tf32" else values

    def _loop(self, op: ops.LoopPass) -> None:
        recipe, real = op.kernel.recipe, _DTYPES[op.kernel.real]
        rates = [i.rate for i in recipe.code if i.op == "load"]
        loads = [self._load(r, rate, real) for r, rate in zip(op.reads, rates, strict=True)]
        results = evaluate(recipe, loads, real)
        shape = (op.rows, op.columns)
        # Before anything is written: an output may have taken the place of an operand.
        outputs = [np.broadcast_to(results[at], shape).copy() for at in recipe.outputs]
        reduced = [
            getattr(np, name)(np.broadcast_to(results[at], shape), axis=1 if to_row else None)
            for name, at, to_row in recipe.reductions
        ]
        for at, parts in zip(op.kernel.summed, op.column_parts, strict=True):
            self.write(parts, 0.0)
            self.bits(parts)[0] = outputs[at].sum(axis=0)
        for places, values in zip(op.writes, outputs, strict=True):
            if isinstance(places, int):
                self.numbers[places] = values[0, 0]
            else:
                for buffer in places:
                    self.write(buffer, values)
        for (_, _, to_row), buffer, value in zip(recipe.reductions, op.reductions, reduced, strict=True):
            if to_row:
                self.write(buffer, value)
            else:
                self.write(buffer, 0.0)
                self.bits(buffer)[0, 0] = value

    def _load(self, source: DeviceBuffer | int, rate: int, real: Any) -> Any:
        """Return what a loop reads: a buffer, or the number at a place among those of the step."""
        if isinstance(source, int):
            return real(self.numbers[source])
        values = self.read(source)
        return values.T if rate == ROW and source.rows == 1 else values

    def _column_sums(self, op: ops.ColumnSums) -> None:
        values = self.read(op.values)
        sums = np.stack([values[k : k + op.chunk].sum(axis=0) for k in range(0, len(values), op.chunk)])
        self.write(op.target, self.read(op.target) + sums if op.accumulate else sums)

    def _total(self, op: ops.Total) -> None:
        before = self.numbers[op.number] if op.accumulate else 0.0
        self.numbers[op.number] = before + op.factor * self.read(op.parts).sum(dtype=np.float64)

    def _transpose(self, op: ops.Transpose) -> None:
        self.write(op.target, self.read(op.source).T)

    def _cast(self, op: ops.Cast) -> None:
        self.write(op.target, self.read(op.source))

    def _bias_rows(self, op: ops.BiasRows) -> None:
        border = np.zeros((op.weights.rows, op.weights.columns), np.float32)
        rest = self.read(op.bias)[0].astype(np.float32)
        for k in range(ops.TERMS):
            part = from_bfloat16(to_bfloat16(rest))
            border[op.rows + k, : op.columns] = part
            rest = np.where(np.isfinite(part), rest - part, np.float32(0.0))
        if op.ones:
            border[op.rows, op.columns : op.columns + ops.TERMS] = 1.0
        bits = self.bits(op.weights)
        bits[op.rows :], bits[:, op.columns :] = to_bfloat16(border[op.rows :]), to_bfloat16(border[:, op.columns :])

    def _record(self, op: ops.RecordNumbers) -> None:
        for k, number in enumerate(op.numbers):
            self.sums[k] += self.numbers[number]

    def _add(self, op: ops.AddSpan) -> None:
        source, target = self._numbers_of(op.source), self._numbers_of(op.target)
        np.add(target, source, out=target)

    def _keep(self, op: ops.KeepNumber) -> None:
        self.bits(op.target)[0, 0] = self.numbers[op.number]

    def _numbers_of(self, span: ops.Span) -> Array:
        begin = self.offsets[span.buffers[0].name] + span.first * BYTES[span.storage]
        return self.memory[begin : begin + span.count * BYTES[span.storage]].view(_DTYPES[span.storage])


def evaluate(recipe: Recipe, loads: list[Any], real: Any) -> list[Any]:
    """Return the value of every instruction of `recipe`."""
    values: list[Any] = []
    rest = iter(loads)
    for i in recipe.code:
        arguments = [values[a] for a in i.arguments]
        if i.op == "load":
            values.append(next(rest))
        elif i.op == "constant":
            values.append(real(i.value))
        elif i.op == "integer":
            values.append(np.int32(i.value))
        elif i.op == "to_real":
            values.append(real(arguments[0]))
        else:
            values.append(_NAMES.get(i.op, getattr(np, i.op, None))(*arguments))  # type: ignore[misc]
    return values


def to_bfloat16(values: Any) -> npt.NDArray[np.uint16]:
    """Return the upper halves of float32 numbers, rounded to the nearest, ties to even."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(values), 0x7FFF, rounded).astype(np.uint16)


def from_bfloat16(bits: npt.NDArray[np.uint16]) -> npt.NDArray[np.float32]:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def round_to_tf32(values: Any) -> npt.NDArray[np.float32]:
    """Return float32 numbers with 10 bits of fraction, rounded to the nearest, ties to even."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = (bits + 0xFFF + ((bits >> 13) & 1)) & np.uint32(0xFFFFE000)
    return np.where(np.isfinite(values), rounded.view(np.float32), values)


def _as_columns(values: Array, rows: int) -> Array:
    """Return a matrix of so many rows as it is, and a vector as a single column."""
    return values if len(values) == rows else values.T


def _packed(bits: Array, width: int) -> Array:
    packed = np.packbits(bits, axis=1, bitorder="little")
    return np.pad(packed, ((0, 0), (0, width - packed.shape[1])))
