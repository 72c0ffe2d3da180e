"""How what moves numbers on a tile is written: rows that are gathered or looked up, copies, products of rows."""

from gdkernels.graph.nodes import Node
from gdkernels.lowering.schedule import PREDICTION
from gdkernels.lowering.steps import COLUMN, Copy, EntryProduct, Gather, LookUp, Outer, Part, RowProduct
from gdkernels_numba.bytecode.writer import InstructionWriter, Patch
from gdkernels_numba.vm.fields import StridedAddress
from gdkernels_numba.vm.instructions import (
    GATHER_COLUMN,
    GATHER_PANELS,
    LOOK_UP_ROWS,
    MULTIPLY_ENTRIES,
    SCATTER_ROWS,
)
from gdkernels_numba.vm.tile_instructions import (
    CopyColumns,
    GatherColumn,
    GatherPanels,
    LookUpRows,
    MultiplyEntries,
    MultiplyMatrices,
    MultiplyRows,
    ScatterRows,
)

__all__ = ["write_gather", "write_move", "write_scatter"]


def write_gather(writer: InstructionWriter, step: Gather, start: int = 0, stop: int | None = None) -> None:
    """Write a gather of the columns from `start` to `stop`."""
    size, name = writer.format.size, step.node.attribute
    kernel = writer.kernel("rows_in")
    if writer.layout.forms.kind(step.node) == COLUMN:
        to = writer.layout.in_tile(step.node, writer.number).base
        column = GatherColumn(kernel=kernel, plain=0, plain_row=size, to=to)
        writer.add_patched(writer.tile, column, GATHER_COLUMN.at.plain, name, 0)
        return
    matrix, address = writer.layout.buffer(step.node, writer.number)
    rows = GatherPanels(
        kernel=kernel,
        columns=(matrix.columns if stop is None else stop) - start,
        plain=0,
        plain_row=matrix.columns * size,
        to=address._replace(base=writer.layout.at_column(matrix, start)),
        pitch=matrix.pitch,
    )
    writer.add_patched(writer.tile, rows, GATHER_PANELS.at.plain, name, start * size)


def write_move(writer: InstructionWriter, step: Copy | EntryProduct | LookUp | Outer | RowProduct) -> None:
    """Write, in all columns, a copy of columns, rows that are looked up, a product with entries or one of rows."""
    if isinstance(step, EntryProduct):
        _write_entry_product(writer, step)
    elif isinstance(step, Outer):
        _write_outer(writer, step)
    elif isinstance(step, RowProduct):
        _write_row_product(writer, step)
    elif isinstance(step, LookUp):
        _write_look_up(writer, step)
    else:
        for part in step.parts:
            _write_copy(writer, step.node, part)
    looked_up_beside = isinstance(step, LookUp) and step.node.op == "concat"  # what is copied there comes after it
    if writer.layout.forms.kind(step.node) != COLUMN and not looked_up_beside:
        writer.write_packed(step.node)


def write_scatter(writer: InstructionWriter, prediction: Node) -> None:
    matrix, address = writer.layout.buffer(prediction, writer.number)
    scatter = ScatterRows(
        kernel=writer.kernel("rows_out"),
        columns=matrix.columns,
        plain=0,
        plain_row=matrix.columns * writer.format.size,
        source=address,
        pitch=matrix.pitch,
    )
    writer.add_patched(writer.tile, scatter, SCATTER_ROWS.at.plain, PREDICTION, 0)


def _write_entry_product(writer: InstructionWriter, step: EntryProduct) -> None:
    """Write the product of the caller's entries with weights."""
    layout, name = writer.layout, step.weights.attribute
    result, c = layout.buffer(step.node, writer.number)
    begin = writer.add_with_entries(
        writer.tile,
        MultiplyEntries(
            kernel=writer.kernel("multiply_entries"),
            columns=result.columns,
            starts=0,
            numbers=0,
            values=0,
            w=layout.rows_of(name),
            c=c,
            c_pitch=result.pitch,
        ),
    )
    if name in layout.forms.plain:
        writer.patches.append(Patch(writer.tile, begin + MULTIPLY_ENTRIES.at.w.base, name, 0))


def _write_look_up(writer: InstructionWriter, step: LookUp) -> None:
    layout, name = writer.layout, step.table.attribute
    source, numbers = layout.buffer(step.source, writer.number)
    result, to = layout.buffer(step.node, writer.number)
    begin = writer.tile.add(
        LookUpRows(
            kernel=writer.kernel("look_up"),
            columns=layout.forms.size(step.table, 1),
            last=layout.forms.size(step.table, 0) - 1,
            numbers=numbers._replace(base=layout.at_column(source, step.column)),
            numbers_pitch=source.pitch,
            table=layout.rows_of(name),
            to=to,
            pitch=result.pitch,
            column=step.to,
            kept=layout.codes.get(step.codes.id, 0),
        )
    )
    if name in layout.forms.plain:
        writer.patches.append(Patch(writer.tile, begin + LOOK_UP_ROWS.at.table.base, name, 0))


def _write_outer(writer: InstructionWriter, step: Outer) -> None:
    layout = writer.layout
    left, right = step.left, step.right
    if layout.forms.size(right, 1) == 1:  # long rows of products, not many of one number; their order is the same
        left, right = right, left
    (first, a), (second, d) = layout.buffer(left, writer.number), layout.buffer(right, writer.number)
    result, to = layout.buffer(step.node, writer.number)
    writer.tile.add(
        MultiplyRows(
            kernel=writer.kernel("multiply_rows"),
            left_columns=first.columns,
            right_columns=second.columns,
            left=a,
            left_pitch=first.pitch,
            right=d,
            right_pitch=second.pitch,
            to=to,
            pitch=result.pitch,
            column=step.to,
        )
    )


def _write_row_product(writer: InstructionWriter, step: RowProduct) -> None:
    layout = writer.layout
    height, terms, width, left_turned, right_turned = step.node.attribute
    (first, a), (second, b) = layout.buffer(step.left, writer.number), layout.buffer(step.right, writer.number)
    result, to = layout.buffer(step.node, writer.number)
    writer.tile.add(
        MultiplyMatrices(
            kernel=writer.kernel("multiply_matrices"),
            height=height,
            terms=terms,
            width=width,
            left=a,
            left_pitch=first.pitch,
            left_row=1 if left_turned else terms,
            left_term=height if left_turned else 1,
            right=b,
            right_pitch=second.pitch,
            right_term=1 if right_turned else width,
            right_column=terms if right_turned else 1,
            to=to,
            pitch=result.pitch,
        )
    )


def _write_copy(writer: InstructionWriter, node: Node, part: Part) -> None:
    source, source_pitch = (
        (StridedAddress(writer.layout.zeros), 0) if part.source is None else _moved(writer, part.source)
    )
    to, pitch = _moved(writer, node)
    writer.tile.add(
        CopyColumns(
            kernel=writer.kernel("copy_columns"),
            columns=part.count,
            source=source,
            source_pitch=source_pitch,
            source_column=part.first,
            to=to,
            pitch=pitch,
            column=part.to,
        )
    )


def _moved(writer: InstructionWriter, node: Node) -> tuple[StridedAddress, int]:
    """Return where a matrix or a column of the tile is, and the bytes from row to row."""
    if writer.layout.forms.kind(node) == COLUMN:
        return writer.layout.in_tile(node, writer.number), writer.format.size
    matrix, address = writer.layout.buffer(node, writer.number)
    return address, matrix.pitch
