"""Kernels that move by number: columns of one matrix into another, their products, rows of a table, and sums of rows.

Most programs need none of them, so that they are compiled for those that do. Each reads the fields of its instruction
itself, so that the interpreter calls them all alike. Matrices are panels: `down` is from row to row of the batch,
`pitch` from row to row of a panel, `across` from panel to panel.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from llvmlite import ir

from gdkernels_numba.ir.emit import I32, I64, Function, Variable
from gdkernels_numba.ir.format import Format
from gdkernels_numba.ir.vector import Vectors

__all__ = ["CODED_MOVES", "write_coded_moves"]

# The instruction; the tile's first row in the batch and how many it has, or 0 and all of the batch; the place of the
# first of them in the order of the run; and that order, or 0 for all rows in turn.
_ARGUMENTS = ("at", "row", "rows", "place", "order")


def write_coded_moves(module: ir.Module, format: Format, fields: Mapping[str, Any]) -> None:
    """Add the kernels of `CODED_MOVES` to `module`.

    Parameters
    ----------
    fields
        For each kernel, its instruction with the offset of each field in words in place of the field.
    """
    for name, write in CODED_MOVES.items():
        function = _Reading(module, name, fields[name])
        write(function, Vectors(function, format))
        function.finish()


class _Reading(Function):
    """A function under construction whose attributes are also the fields of its instruction, `to.down` as to_down."""

    def __init__(self, module: ir.Module, name: str, fields: Any) -> None:
        super().__init__(module, name, _ARGUMENTS)
        for field, offset in fields._asdict().items():
            parts = offset._asdict() if hasattr(offset, "_asdict") else {"": offset}
            for part, word in parts.items():
                at = self.pointer(self.add(self.at, 8 * word))
                self.arguments[f"{field}_{part}" if part else field] = self.builder.load(at, typ=I64)

    def in_tile(self, field: str) -> Any:
        """Return where the strided address `field` leads, so far down as the first row."""
        return self.add(self.arguments[f"{field}_base"], self.multiply(self.row, self.arguments[f"{field}_down"]))


def _copy_columns(f: _Reading, v: Vectors) -> None:
    """Write the columns from `source_column` on into those from `column` on."""
    first_source, first_target = f.in_tile("source"), f.in_tile("to")
    with f.loop(f.rows) as k:
        source = f.add(first_source, f.multiply(k, f.source_pitch))
        _copy_row(f, v, source, f.source_across, f.source_column, f.add(first_target, f.multiply(k, f.pitch)))


def _look_up(f: _Reading, v: Vectors) -> None:
    """Write rows of a table into the columns from `column` on, and keep their numbers as integers.

    What is no number from 0 to `last` becomes the nearest: callers refuse it before.
    """
    form = v.format
    last, zero = f.builder.sitofp(f.last, form.scalar), ir.Constant(form.scalar, 0.0)
    numbers, to = f.in_tile("numbers"), f.in_tile("to")
    with f.loop(f.rows) as k:
        number = v.load_scalar(f.add(numbers, f.multiply(k, f.numbers_pitch)))
        number = f.builder.select(f.builder.fcmp_ordered(">", number, zero), number, zero)  # also of what is no number
        number = f.builder.select(f.builder.fcmp_ordered("<", number, last), number, last)
        code = f.builder.fptosi(number, I64)
        with f.builder.if_then(f.is_less(0, f.kept)):
            f.builder.store(code, f.pointer(f.add(f.kept, f.multiply(f.add(f.row, k), 8))))
        source = f.add(f.table_base, f.multiply(code, f.table_down))
        _copy_row(f, v, source, f.table_across, f.integer(0), f.add(to, f.multiply(k, f.pitch)))


def _multiply_rows(f: _Reading, v: Vectors) -> None:
    """Write the products of a row's numbers in `left` with those in `right` into the columns from `column` on.

    All rows are done for one vector of products at a time: where it lies, and which lanes are columns, is the same.
    """
    left, right, to = f.in_tile("left"), f.in_tile("right"), f.in_tile("to")
    column = f.variable(f.column)
    with f.loop(f.left_columns) as i:
        number = _place(f, v, left, f.left_across, i)
        done = f.variable(0)
        with f.repeat(lambda: f.is_less(done.get(), f.right_columns)):
            here, there = done.get(), f.add(column.get(), done.get())
            room = f.least(_room(f, v, here), _room(f, v, there))
            count = f.least(f.least(f.subtract(f.right_columns, here), room), v.format.lanes)
            source, target = _place(f, v, right, f.right_across, here), _place(f, v, to, f.to_across, there)
            with f.builder.if_else(f.is_less(count, v.format.lanes)) as (some, all_lanes):
                with some:
                    mask = v.first_lanes(count)
                    with _rows_of_products(f, number, source, target) as (a, d, c):
                        v.store_masked(v.multiply(v.broadcast(a), v.load_masked(d, mask)), c, mask)
                with all_lanes, _rows_of_products(f, number, source, target) as (a, d, c):
                    product = v.multiply(v.broadcast(a), v.load(d, align=v.format.size))
                    f.builder.store(product, f.pointer(c)).align = v.format.size
            done.set(f.add(here, count))
        column.set(f.add(column.get(), f.right_columns))


@contextmanager
def _rows_of_products(f: _Reading, left: Any, right: Any, to: Any) -> Iterator[tuple[Any, Any, Any]]:
    """Go through the rows of a tile; yields where they are in the two factors and in their products."""
    a, d, c = f.variable(left), f.variable(right), f.variable(to)
    with f.loop(f.rows):
        yield a.get(), d.get(), c.get()
        a.set(f.add(a.get(), f.left_pitch))
        d.set(f.add(d.get(), f.right_pitch))
        c.set(f.add(c.get(), f.pitch))


def _multiply_matrices(f: _Reading, v: Vectors) -> None:
    """Write, for each row of the tile, the product of two matrices in it.

    The right one is copied, row by row, to where its rows begin a vector. Four rows of the product are made at a time.
    """
    form, at_once = v.format, 4
    lanes = form.lanes
    padded = f.multiply(f.builder.sdiv(f.add(f.width, lanes - 1), f.integer(lanes)), form.bytes)
    scratch = f.builder.alloca(ir.IntType(8), size=f.multiply(f.add(f.terms, at_once), padded))
    scratch.align = form.bytes
    copied = f.builder.ptrtoint(scratch, I64)
    made = f.add(copied, f.multiply(f.terms, padded))
    left, right, to = f.in_tile("left"), f.in_tile("right"), f.in_tile("to")
    side_by_side = f.builder.icmp_signed("==", f.right_column, f.integer(1))
    with f.loop(f.rows) as k:
        a, b, c = (
            f.add(base, f.multiply(k, pitch))
            for base, pitch in ((left, f.left_pitch), (right, f.right_pitch), (to, f.pitch))
        )
        with f.loop(f.terms) as term:
            row = f.add(copied, f.multiply(term, padded))
            first = f.multiply(term, f.right_term)
            with f.builder.if_else(side_by_side) as (whole_rows, single):
                with whole_rows, _stretches(f, v, first, f.width) as (done, offset, mask):
                    source = f.add(_place(f, v, b, f.right_across, f.add(first, done)), offset)
                    v.store_masked(v.load_masked(source, mask), f.add(row, f.multiply(done, form.size), offset), mask)
                with single, f.loop(f.width) as column:
                    source = _place(f, v, b, f.right_across, f.add(first, f.multiply(column, f.right_column)))
                    f.builder.store(v.load_scalar(source), f.pointer(f.add(row, f.multiply(column, form.size))))
        with f.loop(f.height, step=at_once) as first_row:
            with f.loop(padded, step=form.bytes) as offset:
                sums = [Variable(f, v.constant(0.0)) for _ in range(at_once)]
                with f.loop(f.terms) as term:
                    vector = v.load(f.add(copied, f.multiply(term, padded), offset))
                    for q, total in enumerate(sums):
                        row = f.least(f.add(first_row, q), f.subtract(f.height, 1))  # the last one again, behind it
                        column = f.add(f.multiply(row, f.left_row), f.multiply(term, f.left_term))
                        number = v.broadcast(_place(f, v, a, f.left_across, column))
                        total.set(v.fma(number, vector, total.get()))
                for q, total in enumerate(sums):
                    v.store(total.get(), f.add(made, f.multiply(padded, q), offset))
            with f.loop(f.least(f.subtract(f.height, first_row), at_once)) as q:
                row = f.add(made, f.multiply(padded, q))
                first = f.multiply(f.add(first_row, q), f.width)
                with _stretches(f, v, first, f.width) as (done, offset, mask):
                    target = f.add(_place(f, v, c, f.to_across, f.add(first, done)), offset)
                    v.store_masked(v.load_masked(f.add(row, f.multiply(done, form.size), offset), mask), target, mask)


@contextmanager
def _stretches(f: _Reading, v: Vectors, first: Any, columns: Any) -> Iterator[tuple[Any, Any, Any]]:
    """Go through the vectors of some columns from `first` on, in stretches that lie in one panel each.

    Yields how many columns are done, the offset of the vector from there in bytes, and which lanes are columns.
    """
    done = f.variable(0)
    with f.repeat(lambda: f.is_less(done.get(), columns)):
        here = done.get()
        count = f.least(f.subtract(columns, here), _room(f, v, f.add(first, here)))
        with _vectors(f, v, count) as (offset, mask):
            yield here, offset, mask
        done.set(f.add(here, count))


def _copy_row(f: _Reading, v: Vectors, source: Any, across: Any, first: Any, target: Any) -> None:
    """Write `columns` numbers of a row, from the column `first` on, into the target's from `column` on."""
    done = f.variable(0)
    with f.repeat(lambda: f.is_less(done.get(), f.columns)):
        here, there = f.add(first, done.get()), f.add(f.column, done.get())
        count = f.least(f.subtract(f.columns, done.get()), f.least(_room(f, v, here), _room(f, v, there)))
        a, b = _place(f, v, source, across, here), _place(f, v, target, f.to_across, there)
        with _vectors(f, v, count) as (offset, mask):
            v.store_masked(v.load_masked(f.add(a, offset), mask), f.add(b, offset), mask)
        done.set(f.add(done.get(), count))


def _place(f: _Reading, v: Vectors, base: Any, across: Any, column: Any) -> Any:
    """Return where a column of a row is, whose first panel is at `base`."""
    panel = f.builder.ashr(column, f.integer(v.format.panel.bit_length() - 1))
    inside = f.builder.and_(column, f.integer(v.format.panel - 1))
    return f.add(base, f.multiply(panel, across), f.multiply(inside, v.format.size))


def _room(f: _Reading, v: Vectors, column: Any) -> Any:
    """Return how many columns there are from this one to the end of its panel."""
    return f.subtract(v.format.panel, f.builder.and_(column, f.integer(v.format.panel - 1)))


def _multiply_entries(f: _Reading, v: Vectors) -> None:
    """Write c = x w, where the entries of x are known that are not 0."""
    form, first_c = v.format, f.in_tile("c")

    def block(c: Any, column: Any, first: Any, stop: Any, across: int) -> None:
        """Write `across` vectors of a row from `column` on; only a single one may have columns that are none."""
        panel = f.builder.ashr(column, f.integer(form.panel.bit_length() - 1))
        inside = f.multiply(f.builder.and_(column, f.integer(form.panel - 1)), form.size)
        w = f.add(f.w_base, f.multiply(panel, f.w_across), inside)
        mask = v.first_lanes(f.subtract(f.columns, column))
        sums = [Variable(f, v.constant(0.0)) for _ in range(across)]
        with f.loop(stop, start=first) as e:
            row = f.add(w, f.multiply(_number(f, e), f.w_down))
            value = v.broadcast(f.add(f.values, f.multiply(e, form.size)))
            for k, total in enumerate(sums):
                at = f.add(row, k * form.bytes)
                weights = v.load_masked(at, mask) if across == 1 else v.load(at, align=form.size)
                total.set(v.fma(value, weights, total.get()))
        to = f.add(c, f.multiply(panel, f.c_across), inside)
        for k, total in enumerate(sums):
            v.store(total.get(), f.add(to, k * form.bytes))

    with f.loop(f.rows) as k:
        first, stop = _entries_of(f, k)
        c, column = f.add(first_c, f.multiply(k, f.c_pitch)), f.variable(0)
        wide = form.panel // form.lanes
        with f.repeat(lambda: f.is_less(f.add(column.get(), form.panel - 1), f.columns)):
            block(c, column.get(), first, stop, wide)
            column.set(f.add(column.get(), form.panel))
        with f.repeat(lambda: f.is_less(column.get(), f.columns)):
            block(c, column.get(), first, stop, 1)
            column.set(f.add(column.get(), form.lanes))


def _add_entries(f: _Reading, v: Vectors) -> None:
    """Add the rows of d, each times an entry of x, to the rows of the target that the entries are for: xᵀ d."""
    with f.loop(f.rows) as k:
        first, stop = _entries_of(f, k)
        with f.loop(stop, start=first) as e:
            value = v.broadcast(f.add(f.values, f.multiply(e, v.format.size)))
            with _vectors_of_row(f, v, _number(f, e)) as (column, offset, mask, target):
                d = f.add(_of_d(f, v, k, column), offset)
                total = v.fma(value, v.load_masked(d, mask), v.load_masked(target, mask))
                v.store_masked(total, target, mask)


def _clear_entries(f: _Reading, v: Vectors) -> None:
    with f.loop(f.rows) as k:
        first, stop = _entries_of(f, k)
        with f.loop(stop, start=first) as e, _vectors_of_row(f, v, _number(f, e)) as (_, _, mask, target):
            v.store_masked(v.constant(0.0), target, mask)


def _entries_of(f: _Reading, k: Any) -> tuple[Any, Any]:
    """Return the first entry of row `k`, and the one behind its last."""
    place = f.add(f.place, k)
    record = f.variable(place)
    with f.builder.if_then(f.builder.icmp_signed("!=", f.order, f.integer(0))):
        record.set(f.builder.load(f.pointer(f.add(f.order, f.multiply(place, 8))), typ=I64))
    at = f.add(f.starts, f.multiply(record.get(), 8))
    first, stop = (f.builder.load(f.pointer(f.add(at, offset)), typ=I64) for offset in (0, 8))
    return first, stop


def _number(f: _Reading, e: Any) -> Any:
    """Return the column of an entry."""
    return f.builder.sext(f.builder.load(f.pointer(f.add(f.numbers, f.multiply(e, 4))), typ=I32), I64)


def _add_by_code(f: _Reading, v: Vectors) -> None:
    """Add rows of d to the rows of the target that `codes` name, in turn."""
    with f.loop(f.rows) as k, _vectors_of_row(f, v, _code(f, k)) as (column, offset, mask, target):
        d = f.add(_of_d(f, v, k, column), offset)
        v.store_masked(v.add(v.load_masked(target, mask), v.load_masked(d, mask)), target, mask)


def _clear_by_code(f: _Reading, v: Vectors) -> None:
    with f.loop(f.rows) as k, _vectors_of_row(f, v, _code(f, k)) as (_, _, mask, target):
        v.store_masked(v.constant(0.0), target, mask)


def _of_d(f: _Reading, v: Vectors, k: Any, column: Any) -> Any:
    """Return where row `k` of d is that is added to the target's columns from this one on."""
    return _place(f, v, f.add(f.d_base, f.multiply(k, f.d_down)), f.d_across, f.add(column, f.shift))


def _code(f: _Reading, k: Any) -> Any:
    return f.builder.load(f.pointer(f.add(f.codes, f.multiply(k, 8))), typ=I64)


@contextmanager
def _vectors_of_row(f: _Reading, v: Vectors, number: Any) -> Iterator[tuple[Any, Any, Any, Any]]:
    """Go through the vectors of a row of the target that this thread has, in runs that lie in one panel of d each.

    Yields the column where the run begins, the offset in it, which lanes are columns, and the address.
    """
    log2, panel_columns = f.integer(v.format.panel.bit_length() - 1), f.integer(v.format.panel)
    panels = f.builder.ashr(f.add(f.columns, v.format.panel - 1), log2)
    block = f.multiply(f.builder.ashr(number, log2), panels)
    row = f.add(f.to_base, f.multiply(number, f.to_down))
    before = f.multiply(number, f.columns)
    begin, end = _most(f, f.subtract(f.low, before), 0), f.least(f.subtract(f.high, before), f.columns)
    shift = f.arguments.get("shift", f.integer(0))
    with f.loop(panels) as panel:
        here = f.add(block, panel)
        mine = f.builder.and_(f.is_less(f.subtract(f.first, 1), here), f.is_less(here, f.stop))
        with f.builder.if_then(mine):
            edge = f.multiply(panel, panel_columns)
            done, limit = f.variable(_most(f, begin, edge)), f.least(end, f.add(edge, panel_columns))
            with f.repeat(lambda: f.is_less(done.get(), limit)):
                column = done.get()
                count = f.least(f.subtract(limit, column), _room(f, v, f.add(column, shift)))
                target = _place(f, v, row, f.to_across, column)
                with _vectors(f, v, count) as (offset, mask):
                    yield column, offset, mask, f.add(target, offset)
                done.set(f.add(column, count))


def _most(f: _Reading, a: Any, b: Any) -> Any:
    a, b = f.integer(a), f.integer(b)
    return f.builder.select(f.builder.icmp_signed(">", a, b), a, b)


@contextmanager
def _vectors(f: _Reading, v: Vectors, columns: Any) -> Iterator[tuple[Any, Any]]:
    """Go through the vectors of some columns; yields the offset of each in bytes, and which lanes are columns."""
    with f.loop(columns, step=v.format.lanes) as column:
        yield f.multiply(column, v.format.size), v.first_lanes(f.subtract(columns, column))


CODED_MOVES: dict[str, Callable[[_Reading, Vectors], None]] = {
    "copy_columns": _copy_columns,
    "copy_columns_of_value": _copy_columns,  # which says itself how many rows it has
    "look_up": _look_up,
    "multiply_rows": _multiply_rows,
    "add_by_code": _add_by_code,
    "clear_by_code": _clear_by_code,
    "multiply_matrices": _multiply_matrices,
    "multiply_entries": _multiply_entries,
    "add_entries": _add_entries,
    "clear_entries": _clear_entries,
}
