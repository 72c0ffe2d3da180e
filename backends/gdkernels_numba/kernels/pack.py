"""Kernels that move: rows into panels and out of them, transposes, sums of columns, sums of matrices."""

from collections.abc import Callable

from llvmlite import ir

from gdkernels_numba.cpu.features import has_control_register
from gdkernels_numba.ir.emit import I32, I64, VOID, Function, Variable
from gdkernels_numba.ir.format import LINE, Format
from gdkernels_numba.ir.vector import Vectors
from gdkernels_numba.kernels.amx import configure_tiles, release_tiles

__all__ = ["MOVES", "transposed_lines", "write_moves"]

# The plain matrix has `plain_row` bytes from row to row; the panels have `row` and `panel`.
MOVES = {
    # Row order[k] (row k where order is 0) of the plain matrix becomes row k of the panels. So many numbers as `more`
    # follow in the order: their rows may be brought near.
    "rows_in": ("rows", "columns", "plain", "plain_row", "panels", "row", "panel", "order", "more"),
    "rows_out": ("rows", "columns", "plain", "plain_row", "panels", "row", "panel"),
    # Source and target lie within one panel each. Whole squares are moved, so both need room for them.
    "transpose": ("rows", "columns", "source", "source_row", "target", "target_row"),
    "column_sums": ("rows", "vectors", "source", "row", "target", "accumulate"),
    "add": ("rows", "vectors", "source", "target", "row"),
    # With `enter`, keep the processor's floating-point state at `saved` and flush denormals, which are up to 200 times
    # slower; without, put back what was kept. Tiles are configured and released alike.
    "float_state": ("saved", "enter"),
}

_NARROW = 2  # vectors of a row: so many are moved without a loop over them
_ROWS_AHEAD = 2  # so many rows ahead, a row of an order is prefetched


def write_moves(module: ir.Module, format: Format) -> None:
    """Add the kernels of `MOVES` to `module`."""
    writers = {
        "rows_in": _rows_in,
        "rows_out": _rows_out,
        "transpose": _transpose,
        "column_sums": _column_sums,
        "add": _add,
        "float_state": _float_state,
    }
    for name, arguments in MOVES.items():
        function = Function(module, name, arguments)
        writers[name](function, Vectors(function, format))
        function.finish()


def _rows_in(f: Function, v: Vectors) -> None:
    ordered = f.builder.icmp_signed("!=", f.order, ir.Constant(I64, 0))
    row_bytes = f.multiply(f.columns, v.format.size)

    def place(k: ir.Value) -> ir.Value:
        number = f.builder.load(f.pointer(f.add(f.order, f.multiply(k, 8))), typ=I64)
        return f.add(f.plain, f.multiply(number, f.plain_row))

    is_narrow = f.builder.and_(ordered, f.is_less(row_bytes, _NARROW * v.format.bytes + 1))
    with f.builder.if_else(is_narrow) as (narrow, wide):
        with narrow:
            _narrow_rows_in(f, v, place)
        with wide:
            _wide_rows_in(f, v, ordered, row_bytes, place)


def _narrow_rows_in(f: Function, v: Vectors, place: Callable[[ir.Value], ir.Value]) -> None:
    """Move rows of a few vectors, of which the last is masked: one after the other at full speed.

    Meanwhile the rows of the next call are brought near: they lie anywhere, and no processor foresees them.
    """
    form = v.format
    ahead = f.builder.select(f.is_less(f.more, f.rows), f.integer(0), f.rows)
    for count in range(1, _NARROW + 1):
        before = (count - 1) * form.lanes
        fits = f.builder.and_(f.is_less(before, f.columns), f.is_less(f.columns, before + form.lanes + 1))
        with f.builder.if_then(fits):
            mask = v.first_lanes(f.subtract(f.columns, before))
            with f.loop(f.rows) as k:
                v.prefetch(place(f.add(k, ahead)), near=True)
                plain, panel = place(k), f.add(f.panels, f.multiply(k, f.row))
                for offset in range(0, (count - 1) * form.bytes, form.bytes):
                    v.store(v.load(f.add(plain, offset), align=form.size), f.add(panel, offset))
                rest = (count - 1) * form.bytes
                v.store(v.load_masked(f.add(plain, rest), mask), f.add(panel, rest))


def _wide_rows_in(
    f: Function, v: Vectors, ordered: ir.Value, row_bytes: ir.Value, place: Callable[[ir.Value], ir.Value]
) -> None:
    # Rows in a random order lie anywhere, and no processor foresees the next one. Wide ones have no room near.
    few = f.builder.icmp_signed("<=", row_bytes, f.integer(4 * LINE))
    ahead = f.builder.select(few, f.rows, f.integer(_ROWS_AHEAD))  # those of the next call, or wide ones of this
    last = f.add(f.rows, f.builder.select(few, f.more, f.integer(0)), -1)
    with f.loop(f.rows) as k:
        with f.builder.if_then(ordered):
            next_row = place(f.least(f.add(k, ahead), last))
            with f.loop(row_bytes, step=LINE) as offset:
                v.prefetch(f.add(next_row, offset))
        plain = f.variable(f.add(f.plain, f.multiply(k, f.plain_row)))
        with f.builder.if_then(ordered):
            plain.set(place(k))
        _each_vector(f, v, plain.get(), f.add(f.panels, f.multiply(k, f.row)), inwards=True)


def _rows_out(f: Function, v: Vectors) -> None:
    with f.loop(f.rows) as k:
        plain = f.add(f.plain, f.multiply(k, f.plain_row))
        _each_vector(f, v, plain, f.add(f.panels, f.multiply(k, f.row)), inwards=False)


def _each_vector(f: Function, v: Vectors, plain: ir.Value, panels: ir.Value, *, inwards: bool) -> None:
    """Move one row; the plain side is touched only where it has columns."""
    form = v.format
    left = f.variable(f.columns)
    source, panel = f.variable(plain), f.variable(panels)
    with f.repeat(lambda: f.is_less(0, left.get())):
        here = f.least(left.get(), form.panel)
        whole = f.builder.and_(f.multiply(here, form.size), f.integer(-form.bytes))
        with f.loop(whole, step=form.bytes) as offset:
            if inwards:
                v.store(v.load(f.add(source.get(), offset), align=form.size), f.add(panel.get(), offset))
            else:
                value = v.load(f.add(panel.get(), offset))
                f.builder.store(value, f.pointer(f.add(source.get(), offset))).align = form.size
        rest = f.subtract(here, f.builder.udiv(whole, f.integer(form.size)))
        with f.builder.if_then(f.is_less(0, rest)):
            mask = v.first_lanes(rest)
            a, b = f.add(source.get(), whole), f.add(panel.get(), whole)
            if inwards:
                v.store(v.load_masked(a, mask), b)
            else:
                v.store_masked(v.load(b), a, mask)
        source.set(f.add(source.get(), form.panel * form.size))
        panel.set(f.add(panel.get(), f.panel))
        left.set(f.subtract(left.get(), here))


def _transpose(f: Function, v: Vectors) -> None:
    lanes, size = v.format.lanes, v.format.size
    with f.loop(f.rows, step=lanes) as i, f.loop(f.columns, step=lanes) as j:
        source = f.add(f.source, f.multiply(i, f.source_row), f.multiply(j, size))
        target = f.add(f.target, f.multiply(j, f.target_row), f.multiply(i, size))
        lines = [v.load(f.add(source, f.multiply(f.source_row, k))) for k in range(lanes)]
        for k, line in enumerate(transposed_lines(f, lines)):
            v.store(line, f.add(target, f.multiply(f.target_row, k)))


def transposed_lines(f: Function, lines: list[ir.Value]) -> list[ir.Value]:
    """Exchange halves between lines at growing distance: log₂ n rounds of shuffles."""
    lanes = len(lines)
    distance = lanes // 2
    while distance:
        after = list(lines)
        for i in range(lanes):
            if not i & distance:
                j = i | distance
                low = [x if not x & distance else lanes + (x ^ distance) for x in range(lanes)]
                high = [x | distance if not x & distance else lanes + x for x in range(lanes)]
                for target, order in ((i, low), (j, high)):
                    mask = ir.Constant(ir.VectorType(ir.IntType(32), lanes), order)
                    after[target] = f.builder.shuffle_vector(lines[i], lines[j], mask)
        lines = after
        distance //= 2
    return lines


def _column_sums(f: Function, v: Vectors) -> None:
    with f.loop(f.multiply(f.vectors, v.format.bytes), step=v.format.bytes) as offset:
        total = Variable(f, v.constant(0.0))
        at = f.variable(f.add(f.source, offset))
        with f.loop(f.rows):
            total.set(v.add(total.get(), v.load(at.get())))
            at.set(f.add(at.get(), f.row))
        target = f.add(f.target, offset)
        with f.builder.if_then(f.is_less(0, f.accumulate)):
            total.set(v.add(v.load(target), total.get()))
        v.store(total.get(), target)


def _add(f: Function, v: Vectors) -> None:
    with f.loop(f.rows) as k:
        base = f.multiply(k, f.row)
        with f.loop(f.multiply(f.vectors, v.format.bytes), step=v.format.bytes) as offset:
            target = f.add(f.target, base, offset)
            v.store(v.add(v.load(target), v.load(f.add(f.source, base, offset))), target)


_FLUSH = 0x8040  # denormal results and operands are zero


def _float_state(f: Function, v: Vectors) -> None:
    if not has_control_register():
        return
    saved = f.saved
    with f.builder.if_else(f.is_less(0, f.enter)) as (enter, leave):
        with enter:
            f.call("llvm.x86.sse.stmxcsr", VOID, f.pointer(saved))
            state = f.builder.or_(f.builder.load(f.pointer(saved), typ=I32), ir.Constant(I32, _FLUSH))
            changed = f.pointer(f.add(saved, 8))
            f.builder.store(state, changed)
            f.call("llvm.x86.sse.ldmxcsr", VOID, changed)
            if v.format.amx:
                configure_tiles(f)
        with leave:
            f.call("llvm.x86.sse.ldmxcsr", VOID, f.pointer(saved))
            if v.format.amx:
                release_tiles(f)
