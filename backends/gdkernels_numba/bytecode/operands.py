"""A task bound to sizes and memory: the tables that the threads walk through."""

from contextlib import AbstractContextManager
from typing import NamedTuple

from gdkernels.graph.nodes import Node
from gdkernels.lowering.schedule import PREDICTION
from gdkernels.lowering.steps import COLUMN, Gather, Loop, Product
from gdkernels_numba.bytecode.arena import Matrix
from gdkernels_numba.bytecode.forms import Forms
from gdkernels_numba.bytecode.layout import Layout
from gdkernels_numba.compilation import Kernels
from gdkernels_numba.ir.vector import LINE
from gdkernels_numba.vm.instructions import Place, Table

__all__ = ["Factors", "Tables"]


class Factors(NamedTuple):
    """How a gradient's kernel reads what is multiplied over the batch.

    Attributes
    ----------
    first
        Where the factor that is transposed begins, and the bytes from row to row of the batch.
    unit, block
        In it, the bytes to the next unit, and to the next panel of units.
    pitch, panel, term
        In it, what the kernel takes for ``a_row`` and ``a_panel``, and the bytes from one term of the sum to the next.
    second
        Where the other factor begins, and the bytes from row to row and from panel to panel.
    second_pitch
        In it, the bytes from one term of the sum to the next.
    """

    kernel: int
    first: Place
    unit: int
    block: int
    pitch: int
    panel: int
    term: int
    second: Place
    second_pitch: int


class Tables:
    """The tables of one thread, and what every way of running a tile has in common.

    Attributes
    ----------
    before, transposes, tile, updates, after
        What the walk does: once; once after all have done that; for every tile; for every batch, in one phase or, if
        there is a total over the parameters, in two; and at the end.
    patches
        Which records take the address of which array of the caller's: the table, the record, its operation, the name,
        and how many bytes further it begins.
    """

    def __init__(self, layout: Layout, kernels: Kernels, thread: int) -> None:
        self.layout, self.kernels, self.thread = layout, kernels, thread
        self.format = kernels.format
        self.before, self.transposes, self.tile = Table(), Table(), Table()
        self.updates = [Table() for _ in layout.task.schedule.updates]
        self.after = Table()
        self.patches: list[tuple[Table, int, str, str, int]] = []

    def kernel(self, name: str) -> int:
        return self.kernels.address[name]

    def add_parameter(self, name: str, matrix: Matrix, first: int, stop: int, *, back: bool) -> None:
        """Let this thread bring rows of a parameter or slot in, and out again if it changes."""
        if first == stop:
            return
        row = matrix.columns * self.format.size
        fields = (stop - first, matrix.columns, 0, row, matrix.block(0, first), matrix.pitch, matrix.panel)
        moves = [(self.before, "PACK", "rows_in"), (self.after, "UNPACK", "rows_out")]
        for table, operation, kernel in moves if back else moves[:1]:
            record = table.add(operation, self.kernel(kernel), *fields)
            self.patches.append((table, record, operation, name, first * row))

    def forms(self, node: Node) -> Forms:
        """Return where the operands are that are made of a tile's value."""
        operands = self.layout.operands
        found = operands.of(node, self.thread) if operands is not None else None
        return found or Forms()

    def factors(self, first: Node, second: Node) -> Factors:
        """Return how `first`ᵀ `second` is computed."""
        if self.layout.operands is None:
            left, a = self.layout.buffer(first, self.thread)
            right, d = self.layout.buffer(second, self.thread)
            kernel = self.kernel("product_transposed")
            return Factors(kernel, a, self.format.size, left.panel, left.pitch, 0, left.pitch, d, right.pitch)
        turned, forms = self.forms(first).turned, self.forms(second)
        strides = (LINE, self.format.panel * LINE, LINE, turned.panel, turned.panel // self.format.left_panel)
        return Factors(self.kernel("product"), turned, *strides, forms.right, forms.right_pitch)

    # ---- on a tile

    def add_gather(self, step: Gather, start: int = 0, stop: int | None = None) -> None:
        """Write a gather of the columns from `start` to `stop`."""
        if self.layout.kind(step.node) == COLUMN:
            to = self.layout.in_tile(step.node, self.thread).base
            record = self.tile.add("GATHER_COLUMN", self.kernel("rows_in"), 0, self.format.size, to)
            self.patches.append((self.tile, record, "GATHER_COLUMN", step.node.attribute, 0))
            return
        matrix, place = self.layout.buffer(step.node, self.thread)
        size = self.format.size
        row, columns = matrix.columns * size, (matrix.columns if stop is None else stop) - start
        place = place._replace(base=self.layout.at_column(matrix, start))
        record = self.tile.add("GATHER", self.kernel("rows_in"), columns, 0, row, place, matrix.pitch)
        self.patches.append((self.tile, record, "GATHER", step.node.attribute, start * size))

    def add_scatter(self, prediction: Node) -> None:
        matrix, place = self.layout.buffer(prediction, self.thread)
        row = matrix.columns * self.format.size
        record = self.tile.add("SCATTER", self.kernel("rows_out"), matrix.columns, 0, row, place, matrix.pitch)
        self.patches.append((self.tile, record, "SCATTER", PREDICTION, 0))

    def product(self, step: Product, start: int = 0, stop: int | None = None) -> AbstractContextManager[None]:
        """Write a product's columns from `start` to `stop`; what is added inside is done with each panel of them."""
        layout, name = self.layout, step.weights.attribute
        left, a = layout.buffer(step.left, self.thread)
        result, c = layout.buffer(step.node, self.thread)
        depth, pitch = left.columns, left.pitch
        weights = layout.parameters[name]
        if layout.operands is not None:
            a, depth, pitch = self.forms(step.left).left, -(-depth // 2), LINE
            weights = (layout.operands.back if step.transposed else layout.operands.right)[name]
        elif step.transposed:
            weights = layout.transposes.get(name, weights)
        elif layout.is_turned(step.weights):
            return self.tile.product("DOTS", self.kernel("dots"), depth, a, pitch, weights.address, c, result.pitch)
        columns = (result.columns if stop is None else stop) - start
        right = (layout.at_column(weights, start), weights.pitch, weights.panel)
        c = c._replace(base=layout.at_column(result, start))
        return self.tile.product("PRODUCT", self.kernel("product"), depth, columns, a, pitch, *right, c, result.pitch)

    def add_narrow(self, node: Node, start: int = 0, stop: int | None = None) -> None:
        """Write the operands that are made of the columns from `start` to `stop` of a value, if a product reads it."""
        layout, forms = self.layout, self.forms(node)
        if layout.operands is None or forms == Forms():
            return
        matrix, source = layout.buffer(node, self.thread)
        columns = (matrix.columns if stop is None else stop) - start
        kernel = self.kernel("narrow_distant_rows" if layout.operands.distant_rows else "narrow_rows")
        forms = forms.from_column(start, self.format)
        source = source._replace(base=layout.at_column(matrix, start))
        places = (forms.left, forms.right, forms.right_pitch, forms.turned)
        self.tile.add("NARROW", kernel, columns, source, matrix.pitch, *places)

    def add_loop(self, step: Loop, start: int = 0, stop: int | None = None) -> None:
        """Write a loop over the columns from `start` to `stop` of what it runs over."""
        layout, kernel = self.layout, self.kernels.loops[id(step)]
        nodes = (*step.reads, *step.outputs, *step.reductions)
        if step.kind == COLUMN:
            places = [layout.in_tile(n, self.thread) for n in nodes]
            self.tile.add("COLUMN_LOOP", kernel, operands=places)
            return
        columns = layout.columns_of(step)
        places = [layout.in_tile(n, self.thread, start) for n in nodes]
        stop = columns if stop is None else stop
        self.tile.add("LOOP", kernel, stop - start, layout.pitch(columns), operands=places)
