"""Kernels that round float32 to bfloat16: the forms of a matrix as an operand of a product.

A matrix s [rows, columns] is multiplied in four ways, and each has a form of its own, whose 32-bit words are pairs
along the inner dimension of that product:

==========  =====================  ==============================================================
form        for                    words
==========  =====================  ==============================================================
left        s · …                  [rows, columns/2], panels of 16 words: a line of the cache each
right       … · s                  [rows/2, columns], panels as in float32
transposed  sᵀ · …                 [columns, rows/2], panels of 16 words
back        … · sᵀ                 [columns/2, rows], panels as in float32
==========  =====================  ==============================================================

The words of right are those of the form transposed, with rows and columns exchanged, and the words of left those of
back. All forms are written in squares of 32 by 32 numbers, zero where `s` has none, so that no product need know where
it ends.
"""

from llvmlite import ir

from gdkernels_numba.ir.emit import I32, Function
from gdkernels_numba.ir.format import GRANULE, LINE, Format
from gdkernels_numba.ir.vector import Vectors
from gdkernels_numba.kernels.pack import transposed_lines

__all__ = ["BF16_PACKING", "write_bf16_packing"]

# Of one panel; forms at address 0 are not wanted. `left_panel` and `transposed_panel` are from panel to panel of the
# form.
_ROWS = (
    "rows", "columns", "source", "source_row",
    "left", "left_panel", "right", "right_row", "transposed", "transposed_panel",
)  # fmt: skip
_WEIGHTS = ("rows", "columns", "source", "source_row", "right", "right_row", "back", "back_row")
# Distant forms leave the caches before they are read. All forms but left are therefore written past the caches. Only
# the writing thread finds such writes in order. Others do after a locked instruction, which is how threads meet
# (Intel's Software Developer's Manual, volume 3: Buffering of Write Combining Memory Locations).
BF16_PACKING = {
    "pack_bf16_rows": _ROWS,
    "pack_bf16_weights": _WEIGHTS,
    "pack_bf16_distant_rows": _ROWS,
    "pack_bf16_distant_weights": _WEIGHTS,
}


def write_bf16_packing(module: ir.Module, format: Format) -> None:
    """Add the kernels of `BF16_PACKING` to `module`."""
    for name, arguments in BF16_PACKING.items():
        f = Function(module, name, arguments)
        v = Vectors(f, format)
        distant = "distant" in name
        _clear_behind(f, v)
        with f.loop(f.rows, step=GRANULE) as row:
            if arguments == _ROWS:
                _write_left(f, v, row)
                _write_right(f, v, row, transposed=True, distant=distant)
            else:
                _write_right(f, v, row, transposed=False, distant=distant)
                _write_back(f, v, row, distant=distant)
        f.finish()


def _clear_behind(f: Function, v: Vectors) -> None:
    """Write zeros behind the last row and column, up to the next multiple of 32."""
    size, zero = v.format.size, v.constant(0.0)
    width = _whole(f, f.columns)
    with f.loop(_whole(f, f.rows), start=f.rows) as row, f.loop(f.multiply(width, size), step=v.format.bytes) as offset:
        v.store(zero, f.add(f.source, f.multiply(row, f.source_row), offset))
    first = f.builder.and_(f.columns, f.integer(-v.format.lanes))
    with f.builder.if_then(f.is_less(f.columns, width)), f.loop(f.rows) as row:
        line = f.add(f.source, f.multiply(row, f.source_row))
        with f.loop(width, start=first, step=v.format.lanes) as column:
            at = f.add(line, f.multiply(column, size))
            v.store(v.where(v.first_lanes(f.subtract(f.columns, column)), v.load(at), zero), at)


def _whole(f: Function, count: ir.Value) -> ir.Value:
    return f.builder.and_(f.add(count, GRANULE - 1), f.integer(-GRANULE))


def _packed_row(f: Function, v: Vectors, at: ir.Value) -> ir.Value:
    """Return 32 numbers from one row, as 16 pairs of neighbours."""
    return v.pack_bf16(v.load(at), v.load(f.add(at, v.format.bytes)))


def _packed_rows(f: Function, v: Vectors, at: ir.Value) -> ir.Value:
    """Return 16 numbers each from two rows, as 16 pairs of one above the other."""
    both = v.pack_bf16(v.load(at), v.load(f.add(at, f.source_row)))
    lanes = v.format.lanes
    order = [k + half * lanes for k in range(lanes) for half in range(2)]
    return f.builder.shuffle_vector(both, both, ir.Constant(ir.VectorType(ir.IntType(32), 2 * lanes), order))


def _words(f: Function, v: Vectors, lines: list[ir.Value]) -> list[ir.Value]:
    return [f.builder.bitcast(line, v.integers) for line in lines]


def _store(f: Function, value: ir.Value, address: ir.Value, *, distant: bool = False) -> None:
    store = f.builder.store(value, f.pointer(address))
    store.align = LINE
    if distant:
        store.set_metadata("nontemporal", f.module.add_metadata([ir.Constant(I32, 1)]))


def _write_left(f: Function, v: Vectors, row: ir.Value) -> None:
    size = v.format.size
    with f.builder.if_then(f.builder.icmp_signed("!=", f.left, f.integer(0))):
        to = f.variable(f.add(f.left, f.multiply(row, LINE)))
        with f.loop(f.multiply(f.columns, size), step=GRANULE * size) as offset:
            at = f.add(f.source, f.multiply(row, f.source_row), offset)
            with f.loop(GRANULE) as k:
                line = _packed_row(f, v, f.add(at, f.multiply(k, f.source_row)))
                _store(f, line, f.add(to.get(), f.multiply(k, LINE)))
            to.set(f.add(to.get(), f.left_panel))


def _write_right(f: Function, v: Vectors, row: ir.Value, *, transposed: bool, distant: bool) -> None:
    """Write the form right if it is wanted, and with `transposed` that form too, if it is wanted."""
    size, lanes, pairs = v.format.size, v.format.lanes, GRANULE // 2
    wanted = f.builder.icmp_signed("!=", f.right, f.integer(0))
    either = f.builder.or_(wanted, f.builder.icmp_signed("!=", f.transposed, f.integer(0))) if transposed else wanted
    with f.builder.if_then(either), f.loop(_whole(f, f.columns), step=lanes) as column:
        offset = f.multiply(column, size)
        at = f.add(f.source, f.multiply(row, f.source_row), offset)
        lines = [_packed_rows(f, v, f.add(at, f.multiply(f.source_row, 2 * k))) for k in range(pairs)]
        with f.builder.if_then(wanted):
            to = f.add(f.right, f.multiply(f.builder.lshr(row, f.integer(1)), f.right_row), offset)
            for k, line in enumerate(lines):
                _store(f, line, f.add(to, f.multiply(f.right_row, k)), distant=distant)
        if transposed:
            with f.builder.if_then(f.builder.icmp_signed("!=", f.transposed, f.integer(0))):
                panel = f.multiply(f.builder.udiv(row, f.integer(GRANULE)), f.transposed_panel)
                to = f.add(f.transposed, panel, f.multiply(column, LINE))
                for k, line in enumerate(transposed_lines(f, _words(f, v, lines))):
                    _store(f, line, f.add(to, k * LINE), distant=distant)


def _write_back(f: Function, v: Vectors, row: ir.Value, *, distant: bool) -> None:
    size, lanes = v.format.size, v.format.lanes
    with f.builder.if_then(f.builder.icmp_signed("!=", f.back, f.integer(0))):
        for half in range(0, GRANULE, lanes):
            first = f.add(row, half)
            with f.loop(f.columns, step=GRANULE) as column:
                at = f.add(f.source, f.multiply(first, f.source_row), f.multiply(column, size))
                lines = [_packed_row(f, v, f.add(at, f.multiply(f.source_row, k))) for k in range(lanes)]
                pair = f.builder.lshr(column, f.integer(1))
                to = f.add(f.back, f.multiply(pair, f.back_row), f.multiply(first, size))
                for k, line in enumerate(transposed_lines(f, _words(f, v, lines))):
                    _store(f, line, f.add(to, f.multiply(f.back_row, k)), distant=distant)
