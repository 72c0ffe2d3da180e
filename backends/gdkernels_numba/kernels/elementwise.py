"""Elementwise loops as vector code: one kernel for each recipe."""

import math
from collections.abc import Sequence
from typing import Literal

from llvmlite import ir

from gdkernels.lowering.elementwise import ELEMENT, ROW, SINGLE, UNIT, Recipe
from gdkernels.lowering.steps import NUMBER
from gdkernels_numba.ir.emit import I64, Function, Variable
from gdkernels_numba.ir.format import Format
from gdkernels_numba.ir.functions import FUNCTIONS
from gdkernels_numba.ir.lanes import combined
from gdkernels_numba.ir.vector import Vectors

__all__ = ["LOOP_ARGUMENTS", "write_loop"]

# `operands` is where the addresses stand; `first` is 0 where the row's reductions go on from an earlier panel.
LOOP_ARGUMENTS = ("rows", "columns", "row_bytes", "operands", "first")

_NARROW = 4  # vectors of a row: with fewer, rows are the inner loop, so that it seldom begins anew

_COMBINE: dict[str, Literal["add", "maximum", "minimum"]] = {"sum": "add", "max": "maximum", "min": "minimum"}
_NEUTRAL = {"sum": 0.0, "max": -math.inf, "min": math.inf}


def write_loop(module: ir.Module, name: str, recipe: Recipe, format: Format) -> None:
    """Add the kernel of `recipe` to `module`."""
    _LoopWriter(Function(module, name, LOOP_ARGUMENTS), recipe, format).write()


class _LoopWriter:
    def __init__(self, function: Function, recipe: Recipe, format: Format) -> None:
        self.f, self.recipe, self.format = function, recipe, format
        self.v = Vectors(function, format)
        self.values: dict[int, ir.Value] = {}
        count = recipe.loads + len(recipe.outputs) + len(recipe.reductions)
        self.addresses = [self._word(k) for k in range(count)]
        self.results = self.addresses[recipe.loads :]
        self.sums = self.results[len(recipe.outputs) :]

    def _word(self, k: int) -> ir.Value:
        return self.f.builder.load(self.f.pointer(self.f.add(self.f.operands, 8 * k)), typ=I64)

    def write(self) -> None:
        self._compute(SINGLE)
        if self.recipe.kind == NUMBER:
            for k, address in zip(self.recipe.outputs, self.results, strict=False):
                self._store_double(self._first_lane(self.values[k]), address)
        else:
            self._rows()
        self.f.finish()

    def _rows(self) -> None:
        if self.recipe.reductions or any(i.rate == ROW for i in self.recipe.code):
            self._row_by_row()
        else:
            self._in_any_order()

    def _in_any_order(self) -> None:
        """Write two loops of which the inner one is long: over the rows of a narrow matrix, or over one long row."""
        f, bytes_ = self.f, self.format.bytes
        vectors = f.builder.udiv(f.add(f.multiply(f.columns, self.format.size), bytes_ - 1), f.integer(bytes_))
        width, by_unit = f.multiply(vectors, bytes_), any(i.rate == UNIT for i in self.recipe.code)
        # Rows without gaps are one long row, unless each has the same operands again.
        long = f.builder.icmp_signed("==", f.row_bytes, width) if not by_unit else f.is_less(f.integer(1), f.integer(0))
        down = f.builder.select(long, f.integer(1), f.rows)
        across = f.builder.select(long, f.multiply(f.rows, vectors), vectors)
        narrow = f.is_less(across, _NARROW)

        def chosen(if_narrow: ir.Value | int, otherwise: ir.Value | int) -> ir.Value:
            return f.builder.select(narrow, f.integer(if_narrow), f.integer(otherwise))

        outer, inner = chosen(across, down), chosen(down, across)
        outer_bytes, inner_bytes = chosen(bytes_, f.row_bytes), chosen(f.row_bytes, bytes_)
        outer_units, inner_units = chosen(bytes_, 0), chosen(0, bytes_)
        begin, first_unit = f.variable(0), f.variable(0)
        with f.loop(outer):
            place, unit = f.variable(begin.get()), f.variable(first_unit.get())
            with f.loop(inner):
                at = place.get()
                self._compute(UNIT, unit.get())
                self._compute(ELEMENT, at)
                for k, address in zip(self.recipe.outputs, self.results, strict=False):
                    self.v.store(self.values[k], f.add(address, at))
                place.set(f.add(at, inner_bytes))
                unit.set(f.add(unit.get(), inner_units))
            begin.set(f.add(begin.get(), outer_bytes))
            first_unit.set(f.add(first_unit.get(), outer_units))

    def _row_by_row(self) -> None:
        f, v, recipe = self.f, self.v, self.recipe
        totals = {k: Variable(f, v.constant(0.0)) for k, (_, _, by_row) in enumerate(recipe.reductions) if not by_row}
        with f.loop(f.rows) as row:
            base = f.multiply(row, f.row_bytes)
            number = f.multiply(row, self.format.size)
            self._compute(ROW, number)
            partial = {
                k: Variable(f, v.constant(_NEUTRAL[op]))
                for k, (op, _, by_row) in enumerate(recipe.reductions)
                if by_row
            }
            before = dict(self.values)
            with f.loop(f.multiply(f.columns, self.format.size), step=self.format.bytes) as offset:
                place = f.add(base, offset)
                self._compute(UNIT, offset)
                self._compute(ELEMENT, place)
                for k, address in zip(recipe.outputs, self.results, strict=False):
                    v.store(self.values[k], f.add(address, place))
                self._reduce({**totals, **partial}, offset)
            self.values = before
            for k, variable in partial.items():
                self._store_partial(recipe.reductions[k][0], variable, f.add(self.sums[k], number))
        for k, variable in totals.items():
            total = combined(v, "add", variable.get())
            double = total if self.format.bits == 64 else f.builder.fpext(total, ir.DoubleType())
            pointer = f.pointer(self.sums[k])
            f.builder.store(f.builder.fadd(f.builder.load(pointer, typ=ir.DoubleType()), double), pointer)

    def _compute(self, rate: int, offset: ir.Value | None = None) -> None:
        """Write the instructions of one rate; their operands are `offset` bytes behind their beginning."""
        for k, instruction in enumerate(self.recipe.code):
            if instruction.rate != rate:
                continue
            if instruction.op == "load":
                self.values[k] = self._load(k, rate, offset)
            elif instruction.op == "constant":
                self.values[k] = self.v.constant(instruction.value)
            elif instruction.op == "integer":
                self.values[k] = self.v.int32(int(instruction.value))
            else:
                self.values[k] = self._operate(instruction.op, [self.values[a] for a in instruction.arguments])

    def _load(self, k: int, rate: int, offset: ir.Value | None) -> ir.Value:
        if offset is None:
            return self.v.broadcast_double(self.addresses[k])
        address = self.f.add(self.addresses[k], offset)
        return self.v.broadcast(address) if rate == ROW else self.v.load(address)

    def _operate(self, op: str, values: Sequence[ir.Value]) -> ir.Value:
        function = FUNCTIONS.get(op)
        return function(self.v, *values) if function else getattr(self.v, op)(*values)

    def _reduce(self, variables: dict[int, Variable], offset: ir.Value) -> None:
        """Add the values at `offset` to the sums, but not the padding behind the last column."""
        if not variables:
            return
        left = self.f.subtract(self.f.columns, self.f.builder.udiv(offset, ir.Constant(I64, self.format.size)))
        mask = self.v.first_lanes(left)
        for k, variable in variables.items():
            op, value, _ = self.recipe.reductions[k]
            element = self.v.where(mask, self.values[value], self.v.constant(_NEUTRAL[op]))
            variable.set(getattr(self.v, _COMBINE[op])(variable.get(), element))

    def _store_partial(self, op: str, variable: Variable, address: ir.Value) -> None:
        f, v = self.f, self.v
        scalar = self._combined(op, variable)
        neutral = ir.Constant(self.format.scalar, _NEUTRAL[op])
        # Before the first panel, the old sums are garbage and may be NaN: select them or not, never multiply by zero.
        continues = f.builder.icmp_signed("==", f.first, ir.Constant(I64, 0))
        before = f.builder.select(continues, v.load_scalar(address), neutral)
        both = getattr(v, _COMBINE[op])(v.splat(scalar), v.splat(before))
        f.builder.store(self._first_lane(both), f.pointer(address))

    def _combined(self, op: str, variable: Variable) -> ir.Value:
        """Return the scalar that the lanes make; of a single column, the others have nothing to add."""
        f, ends = self.f, []
        with f.builder.if_else(f.is_less(1, f.columns)) as (several, one):
            with several:
                ends.append((combined(self.v, _COMBINE[op], variable.get()), f.builder.block))
            with one:
                ends.append((self._first_lane(variable.get()), f.builder.block))
        found = f.builder.phi(self.format.scalar)
        for value, block in ends:
            found.add_incoming(value, block)
        return found

    def _first_lane(self, value: ir.Value) -> ir.Value:
        return self.f.builder.extract_element(value, ir.Constant(I64, 0))

    def _store_double(self, scalar: ir.Value, address: ir.Value) -> None:
        double = scalar if self.format.bits == 64 else self.f.builder.fpext(scalar, ir.DoubleType())
        self.f.builder.store(double, self.f.pointer(address))
