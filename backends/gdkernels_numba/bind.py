"""A task bound to sizes and memory: the tables that the threads walk through."""

from collections.abc import Sequence

from gdkernels.graph.nodes import Node
from gdkernels.graph.schedule import PREDICTION
from gdkernels.graph.steps import COLUMN, MATRIX, UNITS, WEIGHTS, Accumulation, Gather, Loop, Product, value_of
from gdkernels_numba.layout import Layout
from gdkernels_numba.lower import Kernels
from gdkernels_numba.memory import Matrix
from gdkernels_numba.table import Place, Table

__all__ = ["Tables"]


class Tables:
    """The tables of one thread.

    Attributes
    ----------
    before, transposes, tile, updates, after
        What the walk does: once; once after all have done that; for every tile; for every batch, in one phase or, if
        there is a total over the parameters, in two; and at the end.
    patches
        Which records take the address of which array of the caller's: the table, the record, its operation, the name.
    """

    def __init__(self, layout: Layout, kernels: Kernels, thread: int) -> None:
        self.layout, self.kernels, self.thread = layout, kernels, thread
        self.before, self.transposes, self.tile = Table(), Table(), Table()
        self.updates = [Table() for _ in layout.task.schedule.updates]
        self.after = Table()
        self.patches: list[tuple[Table, int, str, str]] = []
        self._format = kernels.format

    def _kernel(self, name: str) -> int:
        return self.kernels.address[name]

    def _vectors(self, columns: int) -> int:
        return -(-columns // self._format.lanes)

    # ---- before and after a run

    def add_parameter(self, name: str, matrix: Matrix, rows: int, *, back: bool) -> None:
        """Let this thread bring a parameter or slot in, and out again if it changes."""
        row = matrix.columns * self._format.size
        moves = [(self.before, "PACK", "rows_in"), (self.after, "UNPACK", "rows_out")]
        for table, operation, kernel in moves if back else moves[:1]:
            record = table.add(
                operation,
                self._kernel(kernel),
                rows,
                matrix.columns,
                0,
                row,
                matrix.address,
                matrix.pitch,
                matrix.panel,
            )
            self.patches.append((table, record, operation, name))

    def add_transpose(self, name: str, table: Table, down: int, across: int) -> None:
        """Refresh a block of a transpose."""
        source, target = self.layout.parameters[name], self.layout.transposes[name]
        panel = self._format.panel
        rows = min(panel, target.columns - down * panel)
        columns = min(panel, source.columns - across * panel)
        table.add(
            "TRANSPOSE",
            self._kernel("transpose"),
            rows,
            columns,
            source.block(across, down * panel),
            source.pitch,
            target.block(down, across * panel),
            target.pitch,
        )

    # ---- a tile

    def add_tile(self, prediction: Node | None) -> None:
        """Write what happens to every tile of rows."""
        steps = self.layout.task.schedule.tile
        for k, step in enumerate(steps):
            if isinstance(step, Gather):
                self._add_gather(step)
            elif isinstance(step, Product):
                following = steps[k + 1] if k + 1 < len(steps) else None
                self._add_product(step, fused=_runs_over(following, step.node))
            elif isinstance(step, Loop):
                self._add_loop(step)
            elif self.layout.choices.depth_first:
                self._add_accumulation(step)
        if prediction is not None:
            matrix, place = self.layout.buffer(prediction, self.thread)
            row = matrix.columns * self._format.size
            record = self.tile.add("SCATTER", self._kernel("rows_out"), matrix.columns, 0, row, place, matrix.pitch)
            self.patches.append((self.tile, record, "SCATTER", PREDICTION))

    def _add_gather(self, step: Gather) -> None:
        if self.layout.kind(step.node) == COLUMN:
            to = self.layout.in_tile(step.node, self.thread).base
            record = self.tile.add("GATHER_COLUMN", self._kernel("rows_in"), 0, self._format.size, to)
            self.patches.append((self.tile, record, "GATHER_COLUMN", step.node.attribute))
            return
        matrix, place = self.layout.buffer(step.node, self.thread)
        row = matrix.columns * self._format.size
        record = self.tile.add("GATHER", self._kernel("rows_in"), matrix.columns, 0, row, place, matrix.pitch)
        self.patches.append((self.tile, record, "GATHER", step.node.attribute))

    def _add_product(self, step: Product, *, fused: bool) -> None:
        left, a = self.layout.buffer(step.left, self.thread)
        result, c = self.layout.buffer(step.node, self.thread)
        name = step.weights.attribute
        weights = self.layout.transposes.get(name) if step.transposed else None
        weights = weights or self.layout.parameters[name]
        if self.layout.is_turned(step.weights) and not step.transposed:
            kernel = self._kernel("dots")
            self.tile.add("DOTS", kernel, left.columns, a, left.pitch, weights.address, c, result.pitch, int(fused))
            return
        self.tile.add(
            "PRODUCT",
            self._kernel("product"),
            left.columns,
            result.columns,
            a,
            left.pitch,
            weights.address,
            weights.pitch,
            weights.panel,
            c,
            result.pitch,
            int(fused),
        )

    def _add_loop(self, step: Loop) -> None:
        kernel = self.layout.task.kernels[id(step)]
        places = [self.layout.in_tile(n, self.thread) for n in (*step.reads, *step.outputs, *step.reductions)]
        if step.kind == COLUMN:
            self.tile.add("COLUMN_LOOP", kernel, operands=places)
            return
        shape = step.outputs[0] if step.outputs else value_of(step.reductions[0].args[0])
        columns = self.layout.size(shape, 1)
        pitch = self._format.lanes * self._format.size * self._vectors(min(columns, self._format.panel))
        self.tile.add("LOOP", kernel, columns, pitch, operands=places)

    def _add_accumulation(self, step: Accumulation) -> None:
        first, second = self.layout.factors(step)
        right, d = self.layout.buffer(second, self.thread)
        target = self.layout.gradients[self.thread].get(step.node.id)
        if target is None:
            return  # no update reads it
        if first is None:
            kernel = self._kernel("column_sums")
            self.tile.add("TILE_SUMS", kernel, right.columns, d, right.pitch, target.address)
            return
        left, a = self.layout.buffer(first, self.thread)
        self.tile.add(
            "TILE_GRADIENT",
            self._kernel("product_transposed"),
            left.columns,
            right.columns,
            a,
            left.pitch,
            d,
            right.pitch,
            target.address,
            target.pitch,
            target.panel,
        )

    # ---- the update

    def add_numbers(self, phase: int, totals: Sequence[Node]) -> None:
        """Write how the numbers of a phase come about, in every thread alike."""
        layout, table = self.layout, self.updates[phase]
        for node in totals:
            table.add("TOTAL", layout.part(node, 0), layout.number(node, self.thread))
        loop = layout.task.schedule.numbers[phase]
        if loop is not None:
            places = [Place(layout.number(n, self.thread)) for n in (*loop.reads, *loop.outputs)]
            table.add("BLOCK_LOOP", layout.task.kernels[id(loop)], 0, 0, 0, operands=places)

    def add_record(self, node: Node, to: int) -> None:
        self.updates[-1].add("RECORD", self.layout.number(value_of(node), self.thread), to)

    def add_block(self, phase: int, name: str, down: int, across: int) -> None:
        """Write the work on one block of a parameter: its gradient if that is due, and the loop."""
        layout, table = self.layout, self.updates[phase]
        summed = layout.accumulated_for(name)
        if phase == 0:
            for accumulation in summed:
                self._add_gradient(table, accumulation, down, across)
        loop = layout.task.schedule.updates[phase].get(name)
        if loop is None:
            return
        parameter, panel = layout.parameters[name], self._format.panel
        rows, columns, pitch = 1, parameter.columns, 0
        if loop.kind == WEIGHTS:
            rows = min(panel, layout.rows(name) - down * panel)
            columns, pitch = min(panel, parameter.columns - across * panel), parameter.pitch
        accumulated = {a.node.id for a in summed}
        places = []
        for node in loop.reads:
            if node.id in accumulated:
                places.append(Place(self._gradient_block(node, loop.kind, down, across)))
            elif node.op == "input" and layout.kind(node) in (WEIGHTS, UNITS):
                places.append(Place(layout.parameters[node.attribute].block(across, down * panel)))
            else:
                places.append(Place(layout.number(node, self.thread)))
        replaced = layout.task.schedule.written[name] if loop.outputs else ()
        places += [Place(layout.parameters[m].block(across, down * panel)) for m in replaced]
        places += [Place(layout.part(n, self.thread)) for n in loop.reductions]
        table.add("BLOCK_LOOP", layout.task.kernels[id(loop)], rows, columns, pitch, operands=places)
        if loop.outputs and name in layout.transposes:
            self.add_transpose(name, table, down, across)

    def _gradient_block(self, node: Node, kind: str, down: int, across: int) -> int:
        layout = self.layout
        matrix = layout.gradients[0 if layout.choices.depth_first else self.thread][node.id]
        if kind == UNITS or not layout.whole_gradients:
            return matrix.address
        return matrix.block(across, down * self._format.panel)

    def _add_gradient(self, table: Table, accumulation: Accumulation, down: int, across: int) -> None:
        layout, panel = self.layout, self._format.panel
        matrix = layout.gradients[self.thread][accumulation.node.id]
        if layout.choices.depth_first:
            self._add_private_gradients(table, accumulation, down, across)
            return
        first, second = layout.factors(accumulation)
        right, _ = layout.buffer(second, self.thread)
        if first is None:
            for k in range(-(-right.columns // panel)):
                vectors = self._vectors(min(panel, right.columns - k * panel))
                to = matrix.address + k * panel * self._format.size
                table.add("SUMS", self._kernel("column_sums"), vectors, right.block(k, 0), right.pitch, to)
            return
        left, _ = layout.buffer(first, self.thread)
        rows = min(panel, left.columns - down * panel)
        vectors = self._vectors(min(panel, right.columns - across * panel))
        to = self._gradient_block(accumulation.node, WEIGHTS, down, across)
        table.add(
            "GRADIENT",
            self._kernel("product_transposed"),
            rows,
            vectors,
            left.block(down, 0),
            left.pitch,
            right.block(across, 0),
            right.pitch,
            to,
            right.pitch,
        )

    def _add_private_gradients(self, table: Table, accumulation: Accumulation, down: int, across: int) -> None:
        """Add the other threads' gradients to the first one's."""
        layout, panel = self.layout, self._format.panel
        target = layout.gradients[0][accumulation.node.id]
        first, _ = layout.factors(accumulation)
        for other in range(1, layout.choices.threads):
            source = layout.gradients[other][accumulation.node.id]
            if first is None:
                vectors = self._vectors(target.columns)
                table.add("ADD", self._kernel("add"), 1, vectors, source.address, target.address, 0, other)
                continue
            rows = min(panel, layout.size(first, 1) - down * panel)
            vectors = self._vectors(min(panel, target.columns - across * panel))
            at = source.block(across, down * panel), target.block(across, down * panel)
            table.add("ADD", self._kernel("add"), rows, vectors, *at, target.pitch, other)


def _runs_over(step: object, node: Node) -> bool:
    """Whether `step` is a loop over matrices of the width of `node`."""
    if not isinstance(step, Loop) or step.kind != MATRIX:
        return False
    shape = step.outputs[0] if step.outputs else value_of(step.reductions[0].args[0])
    return shape.shape[1] is node.shape[1]
