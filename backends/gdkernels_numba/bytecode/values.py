"""Writing what is computed of parameters alone, and the way back to them: one piece does all of it, between phases."""

from gdkernels.graph.nodes import Node, is_one
from gdkernels.graph.operations import SCALAR
from gdkernels.lowering.steps import NUMBER
from gdkernels.lowering.value_steps import (
    Pass,
    SummedColumns,
    Turn,
    ValueCopy,
    ValueProduct,
    ValueStep,
    ValueSteps,
    extents,
    is_matrix,
    number_of,
)
from gdkernels_numba.bytecode.arena import Matrix, panels_of
from gdkernels_numba.bytecode.stream import InstructionStream
from gdkernels_numba.bytecode.weight_copies import write_copies
from gdkernels_numba.bytecode.writer import InstructionWriter
from gdkernels_numba.vm.block_instructions import (
    CopyColumnsOfValue,
    ForBlocks,
    LoadParameter,
    LoopOverNumbers,
    LoopOverValue,
    MultiplyValues,
    StoreParameter,
    SumColumnsOfValue,
    TransposeBlock,
)
from gdkernels_numba.vm.fields import StridedAddress

__all__ = ["write_values"]


def write_values(writer: InstructionWriter, stream: InstructionStream, *, back: bool = False) -> None:
    """Write the steps before the batch, and the copies of weights that products read; or the steps after it."""
    steps = writer.layout.values
    if steps is None:
        return
    values = _ValueWriter(writer, stream, steps)
    for step in steps.after if back else steps.before:
        values.write(step)
    for name in () if back else sorted(writer.layout.computed & writer.layout.copied):
        values.write_copies(name)


class _ValueWriter:
    def __init__(self, writer: InstructionWriter, stream: InstructionStream, steps: ValueSteps) -> None:
        self.writer, self.stream, self.steps, self.layout = writer, stream, steps, writer.layout

    def write(self, step: ValueStep) -> None:
        if isinstance(step, Pass):
            self._write_pass(step)
        elif isinstance(step, ValueProduct):
            self._write_product(step)
        elif isinstance(step, SummedColumns):
            self._write_sums(step)
        elif isinstance(step, ValueCopy):
            self._write_copy(step)
        else:
            self._write_turn(step)

    def write_copies(self, name: str) -> None:
        """Write the copies of all blocks of a computed matrix."""
        with self.stream.with_body(self._blocks(self.layout.forms.rows(name), self.layout.parameters[name].columns)):
            write_copies(self.writer, self.stream, name)

    def _blocks(self, rows: int, columns: int) -> ForBlocks:
        form = self.writer.format
        return ForBlocks(rows=rows, columns=columns, first=0, stop=panels_of(rows, form) * panels_of(columns, form))

    def _write_pass(self, step: Pass) -> None:
        operands = [self._operand(value, step) for value in (*step.reads, *step.writes)]
        kernel = self.writer.kernels.loops[id(step)]
        if step.recipe.kind == NUMBER:
            self.stream.add(LoopOverNumbers(kernel=kernel), operands=operands)
            return
        if self._copies_column(step):
            return
        rows, columns = extents(step.over)
        loop = LoopOverValue(kernel=kernel, rows=rows, columns=columns, pitch=self.layout.pitch(columns))
        self.stream.add(loop, operands=operands)

    def _copies_column(self, step: Pass) -> bool:
        """Write a pass that copies a vector from or to a matrix of one padded column; return whether it is such."""
        if len(step.reads) != 1 or step.recipe.code[1:]:
            return False
        (source,), (target,) = ([self._array(v) for v in values] for values in (step.reads, step.writes))
        if not (source and target and 1 in (source.columns, target.columns) and max(source.rows, target.rows) > 1):
            return False
        column, row = (source, target) if source.columns == 1 else (target, source)
        panels = StridedAddress(column.address, column.pitch, column.panel)
        kernel, size = self.writer.kernel("rows_out" if column is source else "rows_in"), self.writer.format.size
        if column is source:
            self.stream.add(StoreParameter(kernel, row.columns, 1, row.address, size, panels))
        else:
            self.stream.add(LoadParameter(kernel, row.columns, 1, row.address, size, panels))
        return True

    def _array(self, value: Node | str) -> Matrix | None:
        place = self.layout.parameters[value] if isinstance(value, str) else self.layout.place_of(value)
        return place if isinstance(place, Matrix) else None

    def _operand(self, value: Node | str, step: Pass) -> StridedAddress:
        """Return where a loop finds a value: along its rows, its columns, or both."""
        layout = self.layout
        if isinstance(value, str):
            matrix = layout.parameters[value]
        elif value.dtype == SCALAR:
            return StridedAddress(layout.numbers.of(self.steps.scalars[value.id], self.writer.number))
        else:
            place = layout.place_of(value)
            if isinstance(place, int):
                return StridedAddress(place)
            matrix = place
            if is_one(value.shape[1]) and is_matrix(step.over):
                return StridedAddress(matrix.address)
        return StridedAddress(matrix.address, 0, matrix.panel)

    def _matrix(self, node: Node) -> Matrix:
        place = self.layout.place_of(node)
        assert isinstance(place, Matrix), "a number is no operand of a product"
        return place

    def _strided(self, node: Node) -> StridedAddress:
        matrix = self._matrix(node)
        return StridedAddress(matrix.address, matrix.pitch, matrix.panel)

    def _write_product(self, step: ValueProduct) -> None:
        rows, columns = extents(step.node)
        self.stream.add(
            MultiplyValues(
                kernel=self.writer.kernel("product_of_values" if self.writer.format.bf16 else "product"),
                rows=rows,
                depth=extents(step.left)[1],
                columns=columns,
                a=self._strided(step.left),
                b=self._strided(step.right),
                c=self._strided(step.node),
            )
        )

    def _write_sums(self, step: SummedColumns) -> None:
        rows, columns = extents(step.source)
        self.stream.add(
            SumColumnsOfValue(
                kernel=self.writer.kernel("column_sums"),
                rows=rows,
                columns=columns,
                source=self._strided(step.source),
                to=self._strided(step.node),
            )
        )

    def _write_copy(self, step: ValueCopy) -> None:
        to, pitch = self._by_rows(step.node)
        for part in step.parts:
            zeros = StridedAddress(self.layout.zeros), 0
            source, source_pitch = zeros if part.source is None else self._by_rows(part.source)
            self.stream.add(
                CopyColumnsOfValue(
                    kernel=self.writer.kernel("copy_columns_of_value"),
                    rows=number_of(step.node.shape[0]),
                    columns=part.count,
                    source=source,
                    source_pitch=source_pitch,
                    source_column=part.first,
                    to=to,
                    pitch=pitch,
                    column=part.to,
                )
            )

    def _by_rows(self, node: Node) -> tuple[StridedAddress, int]:
        """Return where the panels of a value are, and the bytes from row to row: a single column is kept as a row."""
        matrix = self._matrix(node)
        if is_one(node.shape[1]) and not is_one(node.shape[0]):
            return StridedAddress(matrix.address), self.writer.format.size
        return StridedAddress(matrix.address, 0, matrix.panel), matrix.pitch

    def _write_turn(self, step: Turn) -> None:
        layout, source, target = self.layout, self._matrix(step.source), self._matrix(step.node)
        down, across = layout.in_blocks(target)[1:]
        with self.stream.with_body(self._blocks(*extents(step.source))):
            self.stream.add(
                TransposeBlock(
                    kernel=self.writer.kernel("transpose"),
                    source=layout.in_blocks(source),
                    source_pitch=source.pitch,
                    target=StridedAddress(target.address, across, down),
                    target_pitch=target.pitch,
                )
            )
