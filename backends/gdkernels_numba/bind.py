"""A task bound to sizes and memory: the tables that the threads walk through."""

from gdkernels.graph.nodes import Node
from gdkernels.graph.schedule import PREDICTION
from gdkernels.graph.steps import COLUMN, Gather, Loop
from gdkernels_numba.layout import Layout
from gdkernels_numba.lower import Kernels
from gdkernels_numba.memory import Matrix
from gdkernels_numba.table import Table

__all__ = ["Tables"]


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

    # ---- on a tile

    def add_gather(self, step: Gather) -> None:
        if self.layout.kind(step.node) == COLUMN:
            to = self.layout.in_tile(step.node, self.thread).base
            record = self.tile.add("GATHER_COLUMN", self.kernel("rows_in"), 0, self.format.size, to)
            self.patches.append((self.tile, record, "GATHER_COLUMN", step.node.attribute, 0))
            return
        matrix, place = self.layout.buffer(step.node, self.thread)
        row = matrix.columns * self.format.size
        record = self.tile.add("GATHER", self.kernel("rows_in"), matrix.columns, 0, row, place, matrix.pitch)
        self.patches.append((self.tile, record, "GATHER", step.node.attribute, 0))

    def add_scatter(self, prediction: Node) -> None:
        matrix, place = self.layout.buffer(prediction, self.thread)
        row = matrix.columns * self.format.size
        record = self.tile.add("SCATTER", self.kernel("rows_out"), matrix.columns, 0, row, place, matrix.pitch)
        self.patches.append((self.tile, record, "SCATTER", PREDICTION, 0))

    def add_loop(self, step: Loop, start: int = 0, stop: int | None = None) -> None:
        """Write a loop over the columns from `start` to `stop` of what it runs over."""
        layout, kernel = self.layout, self.layout.task.kernels[id(step)]
        nodes = (*step.reads, *step.outputs, *step.reductions)
        if step.kind == COLUMN:
            places = [layout.in_tile(n, self.thread) for n in nodes]
            self.tile.add("COLUMN_LOOP", kernel, operands=places)
            return
        columns = layout.columns_of(step)
        places = [layout.in_tile(n, self.thread, start) for n in nodes]
        stop = columns if stop is None else stop
        self.tile.add("LOOP", kernel, stop - start, layout.pitch(columns), operands=places)
