"""Kernels that move by number: columns of one matrix into another, rows of a table, and sums of rows by their codes.

Matrices are panels; `row` and `panel` are the bytes from row to row and from panel to panel.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from llvmlite import ir

from gdkernels_numba.ir.emit import I32, I64, Function, Variable
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
    # Rows of d are added to the rows of the target that `codes` name, in turn: to its numbers from `low` to `high`, row
    # after row, in the blocks from `first` to `stop`, which are numbered along each row of blocks.
    "add_by_code": (
        "rows", "columns", "low", "high", "first", "stop", "codes", "d", "d_row", "d_panel", "target", "row", "panel",
    ),
    # Those rows of the target become 0.
    "clear_by_code": ("rows", "columns", "low", "high", "first", "stop", "codes", "target", "row", "panel"),
    # c = x w, where the entries of x are known that are not 0: row `order`[k] of x (row k where that is 0) has those
    # from `starts`[row] to `starts`[row + 1].
    "multiply_entries": (
        "rows", "columns", "starts", "numbers", "values", "order", "w", "w_row", "w_panel", "c", "row", "panel",
    ),
    # The rows of d, each times an entry of x, are added to the rows of the target that the entries are for: xᵀ d.
    "add_entries": (
        "rows", "columns", "low", "high", "first", "stop", "starts", "numbers", "values", "order", "d", "d_row",
        "d_panel", "target", "row", "panel",
    ),
    # Those rows of the target become 0.
    "clear_entries": (
        "rows", "columns", "low", "high", "first", "stop", "starts", "numbers", "order", "target", "row", "panel",
    ),
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


def _multiply_entries(f: Function, v: Vectors) -> None:
    form = v.format

    def block(c: Any, column: Any, first: Any, stop: Any, across: int) -> None:
        """Write `across` vectors of a row from `column` on; only a single one may have columns that are none."""
        panel = f.builder.ashr(column, f.integer(form.panel.bit_length() - 1))
        inside = f.multiply(f.builder.and_(column, f.integer(form.panel - 1)), form.size)
        w = f.add(f.w, f.multiply(panel, f.w_panel), inside)
        mask = v.first_lanes(f.subtract(f.columns, column))
        sums = [Variable(f, v.constant(0.0)) for _ in range(across)]
        with f.loop(stop, start=first) as e:
            row = f.add(w, f.multiply(_number(f, e), f.w_row))
            value = v.broadcast(f.add(f.values, f.multiply(e, form.size)))
            for k, total in enumerate(sums):
                at = f.add(row, k * form.bytes)
                weights = v.load_masked(at, mask) if across == 1 else v.load(at, align=form.size)
                total.set(v.fma(value, weights, total.get()))
        to = f.add(c, f.multiply(panel, f.panel), inside)
        for k, total in enumerate(sums):
            v.store(total.get(), f.add(to, k * form.bytes))

    with f.loop(f.rows) as k:
        first, stop = _entries_of(f, k)
        c, column = f.add(f.c, f.multiply(k, f.row)), f.variable(0)
        wide = form.panel // form.lanes
        with f.repeat(lambda: f.is_less(f.add(column.get(), form.panel - 1), f.columns)):
            block(c, column.get(), first, stop, wide)
            column.set(f.add(column.get(), form.panel))
        with f.repeat(lambda: f.is_less(column.get(), f.columns)):
            block(c, column.get(), first, stop, 1)
            column.set(f.add(column.get(), form.lanes))


def _add_entries(f: Function, v: Vectors) -> None:
    with f.loop(f.rows) as k:
        first, stop = _entries_of(f, k)
        with f.loop(stop, start=first) as e:
            value = v.broadcast(f.add(f.values, f.multiply(e, v.format.size)))
            with _vectors_of_row(f, v, _number(f, e)) as (panel, offset, mask, target):
                d = f.add(f.d, f.multiply(k, f.d_row), f.multiply(panel, f.d_panel), offset)
                total = v.fma(value, v.load_masked(d, mask), v.load_masked(target, mask))
                v.store_masked(total, target, mask)


def _clear_entries(f: Function, v: Vectors) -> None:
    with f.loop(f.rows) as k:
        first, stop = _entries_of(f, k)
        with f.loop(stop, start=first) as e, _vectors_of_row(f, v, _number(f, e)) as (_, _, mask, target):
            v.store_masked(v.constant(0.0), target, mask)


def _entries_of(f: Function, k: Any) -> tuple[Any, Any]:
    """Return the first entry of row `k` in the order, and the one behind its last."""
    record = f.variable(k)
    with f.builder.if_then(f.builder.icmp_signed("!=", f.order, f.integer(0))):
        record.set(f.builder.load(f.pointer(f.add(f.order, f.multiply(k, 8))), typ=I64))
    at = f.add(f.starts, f.multiply(record.get(), 8))
    first, stop = (f.builder.load(f.pointer(f.add(at, offset)), typ=I64) for offset in (0, 8))
    return first, stop


def _number(f: Function, e: Any) -> Any:
    """Return the column of an entry."""
    return f.builder.sext(f.builder.load(f.pointer(f.add(f.numbers, f.multiply(e, 4))), typ=I32), I64)


def _add_by_code(f: Function, v: Vectors) -> None:
    with f.loop(f.rows) as k, _vectors_of_row(f, v, _code(f, k)) as (panel, offset, mask, target):
        d = f.add(f.d, f.multiply(k, f.d_row), f.multiply(panel, f.d_panel), offset)
        v.store_masked(v.add(v.load_masked(target, mask), v.load_masked(d, mask)), target, mask)


def _clear_by_code(f: Function, v: Vectors) -> None:
    with f.loop(f.rows) as k, _vectors_of_row(f, v, _code(f, k)) as (_, _, mask, target):
        v.store_masked(v.constant(0.0), target, mask)


def _code(f: Function, k: Any) -> Any:
    return f.builder.load(f.pointer(f.add(f.codes, f.multiply(k, 8))), typ=I64)


@contextmanager
def _vectors_of_row(f: Function, v: Vectors, number: Any) -> Iterator[tuple[Any, Any, Any, Any]]:
    """Go through the vectors of a row of the target that this thread has.

    Yields the panel, the offset in it, which lanes are columns, and the address.
    """
    log2, panel_columns = f.integer(v.format.panel.bit_length() - 1), f.integer(v.format.panel)
    panels = f.builder.ashr(f.add(f.columns, v.format.panel - 1), log2)
    block = f.multiply(f.builder.ashr(number, log2), panels)
    row = f.add(f.target, f.multiply(number, f.row))
    before = f.multiply(number, f.columns)
    begin, end = _most(f, f.subtract(f.low, before), 0), f.least(f.subtract(f.high, before), f.columns)
    with f.loop(panels) as panel:
        here = f.add(block, panel)
        mine = f.builder.and_(f.is_less(f.subtract(f.first, 1), here), f.is_less(here, f.stop))
        with f.builder.if_then(mine):
            edge = f.multiply(panel, panel_columns)
            first = _most(f, begin, edge)
            count = f.subtract(f.least(end, f.add(edge, panel_columns)), first)
            start = f.multiply(f.subtract(first, edge), v.format.size)
            with _vectors(f, v, count) as (further, mask):
                offset = f.add(start, further)
                yield panel, offset, mask, f.add(row, f.multiply(panel, f.panel), offset)


def _most(f: Function, a: Any, b: Any) -> Any:
    a, b = f.integer(a), f.integer(b)
    return f.builder.select(f.builder.icmp_signed(">", a, b), a, b)


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
    "multiply_entries": _multiply_entries,
    "add_entries": _add_entries,
    "clear_entries": _clear_entries,
}
