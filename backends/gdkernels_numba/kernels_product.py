"""Matrix products on panels: micro-kernels that hold a block of the result in registers.

A matrix is a row of panels, each of `Format.panel` columns (an only one may be narrower), each panel its rows one after
the other. Strides are bytes.
"""

from llvmlite import ir

from gdkernels_numba.emit import Function, Variable
from gdkernels_numba.vector import Format, Vectors

__all__ = ["PRODUCT_ARGUMENTS", "write_products"]

# c [rows, vectors] = (c +) a [rows, depth] b [depth, vectors], vectors being counted in registers.
# `a_panel` is from one panel of `a` to the next; a transposed `a` is [depth, rows], in one panel.
PRODUCT_ARGUMENTS = (
    "rows", "depth", "vectors", "a", "a_row", "a_panel", "b", "b_row", "c", "c_row", "accumulate",
)  # fmt: skip

# By the vectors across: the rows of the blocks, highest first. The result takes most of the registers, 32 or 16; a row
# of `b` and one number of `a` need the rest.
_BLOCKS_32 = {4: (6, 2, 1), 2: (12, 4, 1), 1: (16, 4, 1)}
_BLOCKS_16 = {2: (6, 2, 1), 1: (12, 4, 1)}


def write_products(module: ir.Module, format: Format) -> None:
    """Add "product", and "product_transposed" for a transposed left operand, to `module`."""
    _Product(Function(module, "product", PRODUCT_ARGUMENTS), format, transposed=False).write()
    _Product(Function(module, "product_transposed", PRODUCT_ARGUMENTS), format, transposed=True).write()


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
        apart = [f.integer(i * self.format.size) if self.transposed else f.multiply(f.a_row, i) for i in range(height)]

        def step(at: ir.Value) -> None:
            line = [v.load(f.add(b.get(), j * self.format.bytes)) for j in range(across)]
            for i in range(height):
                number = v.broadcast(f.add(at, apart[i]))
                for j in range(across):
                    sums[i][j].set(v.fma(number, line[j], sums[i][j].get()))
            b.set(f.add(b.get(), f.b_row))

        if self.transposed:
            with f.loop(f.depth):
                step(a.get())
                a.set(f.add(a.get(), f.a_row))
        else:
            left = f.variable(f.depth)
            with f.repeat(lambda: f.is_less(0, left.get())):
                here = f.least(left.get(), self.format.panel)
                with f.loop(f.multiply(here, self.format.size), step=self.format.size) as k:
                    step(f.add(a.get(), k))
                a.set(f.add(a.get(), f.a_panel))
                left.set(f.subtract(left.get(), here))
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
