"""Matrix products on panels: micro-kernels that hold a block of the result in registers.

A matrix is a row of panels of `Format.panel` columns each (an only one may be narrower), and a panel is its rows one
after the other. Strides are in bytes. In bfloat16, an element of an operand is a pair of numbers that are neighbours
along the inner dimension, and panels of the left operand are a line of the cache wide.
"""

from collections.abc import Callable

from llvmlite import ir

from gdkernels_numba.ir.emit import Function, Variable
from gdkernels_numba.ir.format import Format
from gdkernels_numba.ir.lanes import separate_sums, sums_as_vector
from gdkernels_numba.ir.vector import Vectors
from gdkernels_numba.kernels.amx import write_tile_product

__all__ = ["PRODUCTS", "products_of", "write_products"]

# c [rows, vectors] = (c +) a [rows, depth] b [depth, vectors], vectors being counted in registers, depth in numbers or
# pairs.
# `a_panel` is from one panel of `a` to the next; a transposed `a` is [depth, rows], in one panel. `soon`, if not 0, is
# written after the product of a gradient, in rows like those of `b`: it is brought near meanwhile.
_PRODUCT = ("rows", "depth", "vectors", "a", "a_row", "a_panel", "b", "b_row", "c", "c_row", "accumulate", "soon")
PRODUCTS = {
    "product": _PRODUCT,
    "product_transposed": _PRODUCT,
    # c [rows, units] = (c +) a [rows, depth] (w [units, depth])ᵀ within one panel of `a` and `w`; units are computed in
    # whole vectors, so `w` needs room for them.
    "product_by_rows": ("rows", "depth", "units", "a", "a_row", "w", "w_row", "c", "c_row", "accumulate"),
    # c [rows, 1] = a [rows, depth] w, where w is one row: a layer of one unit, whose weights stand side by side.
    "dots": ("rows", "depth", "a", "a_row", "a_panel", "w", "c", "c_row"),
}

# By the vectors across: the rows of the blocks, highest first. The result takes most of the registers, 32 or 16; a row
# of `b` and one number of `a` need the rest. Two vectors across have lower blocks, after which the next one begins
# sooner: 16 sums are enough for the latency of two units.
_BLOCKS_32 = {4: (6, 2, 1), 2: (8, 4, 1), 1: (16, 4, 1)}
_BLOCKS_16 = {2: (6, 2, 1), 1: (12, 4, 1)}
_DOTS = (4, 1)  # rows at a time


def products_of(format: Format) -> tuple[str, ...]:
    """Return which of `PRODUCTS` a format needs: in bfloat16, every operand has a left and a right form."""
    return ("product",) if format.bf16 else tuple(PRODUCTS)


def write_products(module: ir.Module, format: Format) -> None:
    """Add the kernels that `products_of` names to `module`."""
    functions = {name: Function(module, name, PRODUCTS[name]) for name in products_of(format)}
    if format.amx:
        write_tile_product(functions["product"])
        return
    _Product(functions["product"], format, transposed=False).write()
    if format.bf16:
        return
    _Product(functions["product_transposed"], format, transposed=True).write()
    _write_by_rows(functions["product_by_rows"], Vectors(functions["product_by_rows"], format))
    _write_dots(functions["dots"], Vectors(functions["dots"], format))


class _Product:
    def __init__(self, function: Function, format: Format, *, transposed: bool) -> None:
        self.f, self.format, self.transposed = function, format, transposed
        self.v = Vectors(function, format)

    def write(self) -> None:
        f = self.f
        blocks = _BLOCKS_32 if self.format.bytes == 64 else _BLOCKS_16
        column = f.variable(0)
        for across, heights in blocks.items():
            with f.repeat(lambda across=across: f.is_less(f.add(column.get(), across - 1), f.vectors)):
                offset = f.multiply(column.get(), self.format.bytes)
                row = f.variable(0)
                for height in heights:
                    with f.repeat(lambda height=height, row=row: f.is_less(f.add(row.get(), height - 1), f.rows)):
                        self._block(row.get(), offset, height, across)
                        row.set(f.add(row.get(), height))
                column.set(f.add(column.get(), across))
        f.finish()

    def _block(self, row: ir.Value, offset: ir.Value, height: int, across: int) -> None:
        """Write the product for `height` rows from `row` and `across` vectors from `offset`."""
        f, v = self.f, self.v
        sums = [[Variable(f, v.constant(0.0)) for _ in range(across)] for _ in range(height)]
        a = f.variable(f.add(f.a, f.multiply(row, self.format.size if self.transposed else f.a_row)))
        b = f.variable(f.add(f.b, offset))
        multiply_add = v.dot_bf16 if self.format.bf16 else v.fma
        row_offsets = [
            f.integer(i * self.format.size) if self.transposed else f.multiply(f.a_row, i) for i in range(height)
        ]
        # The next operands follow the present ones: each block of rows prefetches some of them.
        number_of_block = f.builder.and_(f.builder.udiv(row, f.integer(height)), f.integer(across - 1))
        line_asked_for = f.multiply(number_of_block, self.format.bytes)
        ahead = f.add(f.multiply(f.depth, f.b_row), line_asked_for)

        def step(at: ir.Value) -> None:
            v.prefetch(f.add(b.get(), ahead))
            line = [v.load(f.add(b.get(), j * self.format.bytes)) for j in range(across)]
            for i in range(height):
                number = v.broadcast(f.add(at, row_offsets[i]))
                for j in range(across):
                    sums[i][j].set(multiply_add(number, line[j], sums[i][j].get()))
            b.set(f.add(b.get(), f.b_row))

        def sum_up(step: Callable[[ir.Value], None]) -> None:
            if self.transposed:
                with f.loop(f.depth):
                    step(a.get())
                    a.set(f.add(a.get(), f.a_row))
                return
            left = f.variable(f.depth)
            with f.repeat(lambda: f.is_less(0, left.get())):
                here = f.least(left.get(), self.format.left_panel)
                with f.loop(f.multiply(here, self.format.size), step=self.format.size) as k:
                    step(f.add(a.get(), k))
                a.set(f.add(a.get(), f.a_panel))
                left.set(f.subtract(left.get(), here))

        if not (self.transposed or self.format.bf16):
            sum_up(step)
        else:  # it may be of a gradient
            soon = f.variable(f.add(f.soon, line_asked_for))

            def ask_and_step(at: ir.Value) -> None:
                v.prefetch_to_write(soon.get())
                soon.set(f.add(soon.get(), f.b_row))
                step(at)

            with f.builder.if_else(f.is_less(0, f.soon)) as (asks, asks_not):
                with asks:
                    sum_up(ask_and_step)
                with asks_not:
                    sum_up(step)
        self._store(sums, row, offset)

    def _store(self, sums: list[list[Variable]], row: ir.Value, offset: ir.Value) -> None:
        f, v = self.f, self.v
        c = f.add(f.c, f.multiply(row, f.c_row), offset)
        places = [
            [f.add(c, f.multiply(f.c_row, i), j * self.format.bytes) for j in range(len(line))]
            for i, line in enumerate(sums)
        ]
        with f.builder.if_else(f.is_less(0, f.accumulate)) as (then, otherwise):
            with then:
                for line, at in zip(sums, places, strict=True):
                    for total, place in zip(line, at, strict=True):
                        v.store(v.add(v.load(place), total.get()), place)
            with otherwise:
                for line, at in zip(sums, places, strict=True):
                    for total, place in zip(line, at, strict=True):
                        v.store(total.get(), place)


def _write_by_rows(f: Function, v: Vectors) -> None:
    lanes, size = v.format.lanes, v.format.size
    whole = f.builder.and_(f.multiply(f.depth, size), f.integer(-v.format.bytes))
    rest = f.subtract(f.depth, f.builder.udiv(whole, f.integer(size)))
    with f.loop(f.units, step=lanes) as unit, f.loop(f.rows) as row:
        sums = [Variable(f, v.constant(0.0)) for _ in range(lanes)]
        a, w = f.add(f.a, f.multiply(row, f.a_row)), f.add(f.w, f.multiply(unit, f.w_row))
        lines = [f.add(w, f.multiply(f.w_row, i)) for i in range(lanes)]
        with f.loop(whole, step=v.format.bytes) as offset:
            values = v.load(f.add(a, offset))
            for line, total in zip(lines, sums, strict=True):
                total.set(v.fma(values, v.load(f.add(line, offset)), total.get()))
        with f.builder.if_then(f.is_less(0, rest)):  # the padding behind the last column stays out
            mask = v.first_lanes(rest)
            values = v.where(mask, v.load(f.add(a, whole)), v.constant(0.0))
            for line, total in zip(lines, sums, strict=True):
                weights = v.where(mask, v.load(f.add(line, whole)), v.constant(0.0))
                total.set(v.fma(values, weights, total.get()))
        result = Variable(f, sums_as_vector(v, [total.get() for total in sums]))
        c = f.add(f.c, f.multiply(row, f.c_row), f.multiply(unit, size))
        with f.builder.if_then(f.is_less(0, f.accumulate)):
            result.set(v.add(v.load(c), result.get()))
        v.store(result.get(), c)
    f.finish()


def _write_dots(f: Function, v: Vectors) -> None:
    row = f.variable(0)
    for height in _DOTS:
        with f.repeat(lambda height=height: f.is_less(f.add(row.get(), height - 1), f.rows)):
            _write_dots_of(f, v, row.get(), height)
            row.set(f.add(row.get(), height))
    f.finish()


def _write_dots_of(f: Function, v: Vectors, row: ir.Value, height: int) -> None:
    """Write the inner products of `height` rows with w; the padding behind the last column stays out."""
    size, panel, zero = v.format.size, v.format.panel * v.format.size, v.constant(0.0)
    sums = [Variable(f, zero) for _ in range(height)]
    a, w = f.variable(f.add(f.a, f.multiply(row, f.a_row))), f.variable(f.w)
    left = f.variable(f.multiply(f.depth, size))
    with f.repeat(lambda: f.is_less(0, left.get())):
        here = f.least(left.get(), panel)
        whole = f.builder.and_(here, f.integer(-v.format.bytes))
        with f.loop(whole, step=v.format.bytes) as offset:
            line = v.load(f.add(w.get(), offset))
            for i, total in enumerate(sums):
                total.set(v.fma(v.load(f.add(a.get(), f.multiply(f.a_row, i), offset)), line, total.get()))
        with f.builder.if_then(f.is_less(whole, here)):
            mask = v.first_lanes(f.builder.udiv(f.subtract(here, whole), f.integer(size)))
            line = v.where(mask, v.load(f.add(w.get(), whole)), zero)
            for i, total in enumerate(sums):
                values = v.where(mask, v.load(f.add(a.get(), f.multiply(f.a_row, i), whole)), zero)
                total.set(v.fma(values, line, total.get()))
        a.set(f.add(a.get(), f.a_panel))
        w.set(f.add(w.get(), panel))
        left.set(f.subtract(left.get(), here))
    for i, scalar in enumerate(separate_sums(v, [total.get() for total in sums])):
        v.store(v.splat(scalar), f.add(f.c, f.multiply(f.c_row, f.add(row, i))))
