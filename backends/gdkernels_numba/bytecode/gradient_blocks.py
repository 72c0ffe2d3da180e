"""The gradients of a batch, block by block: products over the batch, sums of columns, and sums by code or entry."""

from collections.abc import Sequence

from gdkernels.lowering.steps import UNITS, WEIGHTS, Accumulation, EntrySums, RowSums
from gdkernels_numba.bytecode.arena import panels_of
from gdkernels_numba.bytecode.stream import InstructionStream
from gdkernels_numba.bytecode.writer import InstructionWriter
from gdkernels_numba.vm.block_instructions import (
    AddBlock,
    AddByCode,
    AddEntries,
    ClearByCode,
    ClearEntries,
    ForBlocks,
    SumColumns,
    SumGradient,
)
from gdkernels_numba.vm.fields import StridedAddress
from gdkernels_numba.vm.instructions import STRIP

__all__ = ["gradient_address", "write_gradient", "write_row_sums", "write_sums"]


_ALL = 1 << 62  # beyond every number of a parameter


def write_gradient(
    writer: InstructionWriter,
    stream: InstructionStream,
    accumulation: Accumulation,
    written: Sequence[StridedAddress],
    *,
    row: int = 0,
    column: int = 0,
) -> None:
    """Write the computation of a block of a gradient; the first block begins at `row` and `column`.

    Meanwhile the kernel prefetches `written`, the memory that is written next.
    """
    layout, panel = writer.layout, writer.format.panel
    if layout.gradients.is_private(accumulation):
        _write_private_gradients(writer, stream, accumulation)
        return
    first, second = layout.gradients.factors(accumulation)
    if first is None:
        right, _ = layout.buffer(second, writer.number)
        stream.add(
            SumColumns(
                kernel=writer.kernel("column_sums"),
                d=StridedAddress(layout.at_column(right, column), 0, right.panel),
                d_pitch=right.pitch,
                to=gradient_address(writer, accumulation, UNITS, 0, column),
            )
        )
        return
    by, room = writer.factors(first, second), layout.gradients.room_to_transpose(accumulation, writer.number)
    if room and row == column == 0:
        turned = writer.factors(second, first)
        stream.add(
            SumGradient(
                kernel=turned.kernel,
                a=turned.first._replace(down=0, across=turned.block),
                a_pitch=turned.pitch,
                a_panel=turned.panel,
                a_term=turned.term,
                d=StridedAddress(turned.second.base, turned.second.across),
                d_pitch=turned.second_pitch,
                to=gradient_address(writer, accumulation, WEIGHTS, row, column),
                to_pitch=by.second_pitch,
                strip=0,
                room=room,
                transpose=writer.kernel("transpose"),
            ),
            operands=[],
        )
        return
    a = by.first.base + row // panel * by.block + row % panel * by.unit
    d = by.second.base + column // panel * by.second.across + column % panel * writer.format.size
    stream.add(
        SumGradient(
            kernel=by.kernel,
            a=StridedAddress(a, by.block),
            a_pitch=by.pitch,
            a_panel=by.panel,
            a_term=by.term,
            d=StridedAddress(d, 0, by.second.across),
            d_pitch=by.second_pitch,
            to=gradient_address(writer, accumulation, WEIGHTS, row, column),
            to_pitch=by.second_pitch,
            strip=STRIP * by.unit if layout.task.schedule.symmetric and first is second else 0,
        ),
        operands=written,
    )


def write_sums(writer: InstructionWriter, stream: InstructionStream, share: int, shares: int) -> None:
    """Write one of some shares of the sums over the batch that are needed before the update.

    Sums by code are set to 0 again with it.
    """
    layout, form = writer.layout, writer.format
    gradients = layout.gradients
    for accumulation in gradients.needed:
        rows, columns = gradients.rows_of(accumulation), layout.forms.size(gradients.factors(accumulation)[1], 1)
        blocks = panels_of(rows, form) * panels_of(columns, form)
        first, stop = (blocks * k // shares for k in (share, share + 1))
        if first < stop:
            with stream.with_body(ForBlocks(rows=rows, columns=columns, first=first, stop=stop)):
                write_gradient(writer, stream, accumulation, [])
    for sums in gradients.needed_by_row:
        columns = gradients.of[writer.number][sums.node.id].columns
        rows = 1 if layout.forms.is_kept_as_row(sums.node) else layout.forms.size(sums.node, 0)
        blocks = panels_of(rows, form) * panels_of(columns, form)
        mine = range(blocks * share // shares, blocks * (share + 1) // shares)
        if mine:
            write_row_sums(writer, stream, None, sums, mine, 0, columns)
            write_row_sums(writer, writer.updates[-1], None, sums, mine, 0, columns, clear=True)


def write_row_sums(
    writer: InstructionWriter,
    stream: InstructionStream,
    name: str | None,
    sums: RowSums | EntrySums,
    blocks: range,
    start: int,
    columns: int,
    *,
    clear: bool = False,
) -> None:
    """Write the sums by code in this piece's blocks of a table's gradient, which were 0; or set them to 0 again.

    Without a name, gradients of parameters are computed of them.
    """
    layout, matrix = writer.layout, writer.layout.gradients.of[writer.number][sums.node.id]
    right, _ = layout.buffer(sums.right, writer.number)
    square = writer.format.panel**2
    low, high, first, stop = 0, _ALL, blocks.start, blocks.stop
    to = layout.rows_of_array(sums.node, matrix) if name is None else layout.rows_of(name, matrix)
    if name in layout.forms.flat:
        low, high, first, stop = first * square, stop * square, 0, _ALL
    elif layout.forms.is_kept_as_row(sums.node):  # then columns are rows
        low, high = (start + k * writer.format.panel for k in (first, stop))
        high, first, stop = min(high, start + columns), 0, _ALL
    else:
        to = to._replace(base=layout.at_column(matrix, start))
    shift = start if stop < _ALL else 0
    columns = columns if stop < _ALL else layout.forms.size(sums.node, 1)
    d = StridedAddress(right.address, right.pitch, right.panel)
    mine = {"columns": columns, "low": low, "high": high, "first": first, "stop": stop}
    if isinstance(sums, RowSums):
        codes = layout.codes[sums.codes.id]
        if clear:
            stream.add(ClearByCode(kernel=writer.kernel("clear_by_code"), **mine, codes=codes, to=to))
        else:
            stream.add(
                AddByCode(
                    kernel=writer.kernel("add_by_code"), **mine, codes=codes, d=d, shift=shift + sums.first, to=to
                )
            )
    elif clear:
        cleared = ClearEntries(kernel=writer.kernel("clear_entries"), **mine, starts=0, numbers=0, to=to)
        writer.add_with_entries(stream, cleared)
    else:
        added = AddEntries(
            kernel=writer.kernel("add_entries"), **mine, starts=0, numbers=0, values=0, d=d, shift=shift, to=to
        )
        writer.add_with_entries(stream, added)


def gradient_address(
    writer: InstructionWriter, accumulation: Accumulation | RowSums | EntrySums, kind: str, row: int, column: int
) -> StridedAddress:
    """Return where the blocks of a gradient are; the first one begins at `row` and `column`."""
    layout = writer.layout
    gradients = layout.gradients
    matrix = gradients.of[0 if gradients.is_private(accumulation) else writer.number][accumulation.node.id]
    if kind != UNITS and isinstance(accumulation, Accumulation) and not gradients.is_whole(accumulation):
        return StridedAddress(matrix.address)
    return layout.in_blocks(matrix, row, column)


def _write_private_gradients(writer: InstructionWriter, stream: InstructionStream, accumulation: Accumulation) -> None:
    """Add the other pieces' gradients to the first one's."""
    layout = writer.layout
    target = layout.gradients.of[0][accumulation.node.id]
    for other in range(1, layout.choices.pieces):
        source = layout.gradients.of[other][accumulation.node.id]
        stream.add(
            AddBlock(
                kernel=writer.kernel("add"),
                source=layout.in_blocks(source),
                target=layout.in_blocks(target),
                pitch=target.pitch,
                piece=other,
            )
        )
