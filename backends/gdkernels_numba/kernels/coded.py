"""Kernels that move by number: columns of one matrix into another, rows of a table, and sums of rows by their codes.

Matrices are panels; `row` and `panel` are the bytes from row to row and from panel to panel.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from llvmlite import ir

from gdkernels_numba.ir.emit import I64, Function
from gdkernels_numba.ir.vector import Vectors

__all__ = ["CODED_MOVES", "CODED_WRITERS"]

CODED_MOVES = {
    # `count` columns from column `from` of the source's first panel on become those from column `to` of the target's.
    "copy_columns": ("rows", "count", "source", "source_row", "source_panel", "from", "target", "row", "panel", "to"),
    # The row of the table whose number stands at `codes`, for each row; numbers are kept as integers at `kept`, if that
    # is not 0. What is no number from 0 to `last` becomes the nearest: callers refuse it before.
    "look_up": (
        "rows", "columns", "codes", "codes_row", "last", "table", "table_row", "table_panel", "target", "row", "panel",
        "kept",
    ),
    # Rows of d are added to the rows of the target that `codes` name, in turn: to those from `low` to `high`, in the
    # blocks from `first` to `stop`, which are counted from row `low` on.
    "add_by_code": (
        "rows", "columns", "low", "high", "first", "stop", "codes", "d", "d_row", "d_panel", "target", "row", "panel",
    ),
    # Those rows of the target become 0.
    "clear_by_code": ("rows", "columns", "low", "high", "first", "stop", "codes", "target", "row", "panel"),
}  # fmt: skip


def _copy_columns(f: Function, v: Vectors) -> None:
    form, log2 = v.format, v.format.panel.bit_length() - 1
    inside = f.integer(form.panel - 1)

    def place(base: Any, panel: Any, column: Any) -> Any:
        across = f.multiply(f.builder.ashr(column, f.integer(log2)), panel)
        return f.add(base, across, f.multiply(f.builder.and_(column, inside), form.size))

    with f.loop(f.rows) as k:
        source, target = f.add(f.source, f.multiply(k, f.source_row)), f.add(f.target, f.multiply(k, f.row))
        done = f.variable(0)
        with f.repeat(lambda: f.is_less(done.get(), f.count)):
            here, there = f.add(f.arguments["from"], done.get()), f.add(f.to, done.get())
            room = [f.subtract(form.panel, f.builder.and_(column, inside)) for column in (here, there)]
            count = f.least(f.subtract(f.count, done.get()), f.least(*room))
            a, b = place(source, f.source_panel, here), place(target, f.panel, there)
            with _vectors(f, v, count) as (offset, mask):
                value = v.load_masked(f.add(a, offset), mask)
                v.store_masked(value, f.add(b, offset), mask)
            done.set(f.add(done.get(), count))


def _look_up(f: Function, v: Vectors) -> None:
    form = v.format
    last = f.builder.sitofp(f.last, form.scalar)
    zero = ir.Constant(form.scalar, 0.0)
    with f.loop(f.rows) as k:
        number = v.load_scalar(f.add(f.codes, f.multiply(k, f.codes_row)))
        number = f.builder.select(f.builder.fcmp_ordered(">", number, zero), number, zero)  # also of what is no number
        number = f.builder.select(f.builder.fcmp_ordered("<", number, last), number, last)
        code = f.builder.fptosi(number, I64)
        with f.builder.if_then(f.is_less(0, f.kept)):
            f.builder.store(code, f.pointer(f.add(f.kept, f.multiply(k, 8))))
        source, target = f.add(f.table, f.multiply(code, f.table_row)), f.add(f.target, f.multiply(k, f.row))
        with _panels(f, v) as (number_of_panel, columns), _vectors(f, v, columns) as (offset, mask):
            a = f.add(source, f.multiply(number_of_panel, f.table_panel), offset)
            b = f.add(target, f.multiply(number_of_panel, f.panel), offset)
            v.store(v.load_masked(a, mask), b)


def _add_by_code(f: Function, v: Vectors) -> None:
    def add(k: Any, panel: Any, offset: Any, mask: Any, target: Any) -> None:
        d = f.add(f.d, f.multiply(k, f.d_row), f.multiply(panel, f.d_panel), offset)
        v.store_masked(v.add(v.load_masked(target, mask), v.load_masked(d, mask)), target, mask)

    _by_code(f, v, add)


def _clear_by_code(f: Function, v: Vectors) -> None:
    _by_code(f, v, lambda k, panel, offset, mask, target: v.store_masked(v.constant(0.0), target, mask))


def _by_code(f: Function, v: Vectors, change: Callable[[Any, Any, Any, Any, Any], None]) -> None:
    """Write ``change(record, panel, offset, mask, target)`` for the rows that codes name, in blocks of this thread."""
    form, log2 = v.format, v.format.panel.bit_length() - 1
    panels = f.builder.ashr(f.add(f.columns, form.panel - 1), f.integer(log2))
    with f.loop(f.rows) as k:
        code = f.builder.load(f.pointer(f.add(f.codes, f.multiply(k, 8))), typ=I64)
        inside = f.builder.and_(f.is_less(f.subtract(f.low, 1), code), f.is_less(code, f.high))
        block = f.multiply(f.builder.ashr(f.subtract(code, f.low), f.integer(log2)), panels)
        row = f.add(f.target, f.multiply(code, f.row))
        with f.builder.if_then(inside), _panels(f, v) as (panel, columns):
            number = f.add(block, panel)
            mine = f.builder.and_(f.is_less(f.subtract(f.first, 1), number), f.is_less(number, f.stop))
            with f.builder.if_then(mine), _vectors(f, v, columns) as (offset, mask):
                change(k, panel, offset, mask, f.add(row, f.multiply(panel, f.panel), offset))


@contextmanager
def _panels(f: Function, v: Vectors) -> Iterator[tuple[Any, Any]]:
    """Go through the panels of `columns` columns; yields the number of each, and how many columns it has."""
    with f.loop(f.columns, step=v.format.panel) as first:
        panel = f.builder.ashr(first, f.integer(v.format.panel.bit_length() - 1))
        yield panel, f.least(f.subtract(f.columns, first), v.format.panel)


@contextmanager
def _vectors(f: Function, v: Vectors, columns: Any) -> Iterator[tuple[Any, Any]]:
    """Go through the vectors of some columns; yields the offset of each in bytes, and which lanes are columns."""
    with f.loop(columns, step=v.format.lanes) as column:
        yield f.multiply(column, v.format.size), v.first_lanes(f.subtract(columns, column))


CODED_WRITERS: dict[str, Callable[[Function, Vectors], None]] = {
    "copy_columns": _copy_columns,
    "look_up": _look_up,
    "add_by_code": _add_by_code,
    "clear_by_code": _clear_by_code,
}
