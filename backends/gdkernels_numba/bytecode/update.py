"""The update: numbers that follow from totals, and the blocks of the parameters."""

from collections.abc import Sequence

from gdkernels.graph.nodes import Node
from gdkernels.lowering.steps import UNITS, WEIGHTS, Accumulation, EntrySums, Loop, RowSums, value_of
from gdkernels_numba.bytecode.arena import panels_of
from gdkernels_numba.bytecode.layout import StepLayout
from gdkernels_numba.bytecode.packed import NOWHERE, PackedOperands
from gdkernels_numba.bytecode.stream import InstructionStream
from gdkernels_numba.bytecode.writer import InstructionWriter
from gdkernels_numba.cpu.features import caches
from gdkernels_numba.vm.block_instructions import (
    AddBlock,
    AddByCode,
    AddEntries,
    AddToResult,
    ChangeBlocks,
    ClearByCode,
    ClearEntries,
    ForBlocks,
    LoopOverBlock,
    LoopOverNumbers,
    PackBlock,
    SumColumns,
    SumGradient,
    SumOverPieces,
    TakeBlock,
    TransposeBlock,
)
from gdkernels_numba.vm.fields import StridedAddress
from gdkernels_numba.vm.instructions import STRIP

__all__ = [
    "write_blocks", "write_change", "write_changes", "write_columns", "write_copies", "write_gradient", "write_numbers",
    "write_result", "write_sums", "written_by",
]  # fmt: skip


_ALL = 1 << 62  # beyond every number of a parameter


def write_numbers(writer: InstructionWriter, stream: InstructionStream, phase: int, totals: Sequence[Node]) -> None:
    """Write the computation of a phase's numbers, which every piece does alike."""
    layout = writer.layout
    for node in totals:
        target = layout.number(node, writer.number)
        if phase == 0:  # a total over the batch
            source, sums, parts = layout.part_of_rows(node), layout.choices.pieces, layout.tiles
        else:
            source, sums, parts = layout.part(node, 0), 1, layout.update_pieces
        stream.add(SumOverPieces(source=source, sums=sums, parts=parts, target=target))
    loop = layout.task.schedule.numbers[phase]
    if loop is not None:
        operands = [StridedAddress(layout.number(n, writer.number)) for n in (*loop.reads, *loop.outputs)]
        stream.add(LoopOverNumbers(kernel=writer.kernels.loops[id(loop)]), operands=operands)


def write_result(writer: InstructionWriter, node: Node, to: int) -> None:
    """Write the addition of a number to the result of the run, for every batch."""
    source = writer.layout.number(value_of(node), writer.number)
    writer.result.add(AddToResult(source=source, target=to))


def write_copies(writer: InstructionWriter, stream: InstructionStream, name: str, *, column: int = 0) -> None:
    """Refresh the copies of a block of weights that products read; the first block begins at `column`."""
    layout = writer.layout
    if layout.packed is not None:
        _write_forms(writer, stream, name, layout.packed, column)
        return
    source, target = layout.parameters[name], layout.transposes[name]
    stream.add(
        TransposeBlock(
            kernel=writer.kernel("transpose"),
            source=layout.in_blocks(source),
            source_pitch=source.pitch,
            target=_transposed(layout, name),
            target_pitch=target.pitch,
        )
    )


def _transposed(layout: StepLayout, name: str) -> StridedAddress:
    """Return where the blocks of the transpose are that belong to those of some weights."""
    target = layout.transposes[name]
    down, across = layout.in_blocks(target)[1:]
    return StridedAddress(target.address, across, down)


def _write_forms(
    writer: InstructionWriter, stream: InstructionStream, name: str, packed: PackedOperands, column: int
) -> None:
    layout = writer.layout
    source = layout.parameters[name]
    to_right, to_back = _forms(layout, name, packed, column)
    pitches = [forms[name].pitch if name in forms else 0 for forms in (packed.right, packed.back)]
    stream.add(
        PackBlock(
            kernel=writer.kernel("pack_bf16_distant_weights" if packed.distant_weights else "pack_bf16_weights"),
            source=layout.in_blocks(source, column=column),
            source_pitch=source.pitch,
            right=to_right,
            right_pitch=pitches[0],
            back=to_back,
            back_pitch=pitches[1],
        )
    )


def _forms(layout: StepLayout, name: str, packed: PackedOperands, column: int) -> tuple[StridedAddress, StridedAddress]:
    """Return where the blocks of the forms right and back are that belong to those of some weights."""
    panel = layout.format.panel
    right, back = packed.right.get(name), packed.back.get(name)
    # A block below is half as many rows of pairs further in the one, a panel further in the other.
    to_right, to_back = NOWHERE, NOWHERE
    if right is not None:
        to_right = StridedAddress(layout.at_column(right, column), panel // 2 * right.pitch, right.panel)
    if back is not None:
        to_back = StridedAddress(back.address + column // 2 * back.pitch, back.panel, panel // 2 * back.pitch)
    return to_right, to_back


def write_blocks(writer: InstructionWriter, phase: int, name: str, first: int, stop: int) -> None:
    """Write the work on some blocks of a parameter."""
    parameter = writer.layout.parameters[name]
    _write_update(writer, phase, name, parameter.columns, range(first, stop), 0)


def write_columns(writer: InstructionWriter, phase: int, name: str, start: int, stop: int) -> None:
    """Write the work on some columns of a parameter; they begin a panel or lie in one."""
    layout, panel = writer.layout, writer.format.panel
    blocks = -(-layout.forms.rows(name) // panel) * -(-(stop - start) // panel)
    _write_update(writer, phase, name, stop - start, range(blocks), start)


def write_changes(writer: InstructionWriter, name: str, bounds: int) -> None:
    """Write the work on the blocks of a parameter that are those of any piece, by the bounds at an address."""
    layout, stream = writer.layout, writer.updates[0]
    loop, summed = layout.task.schedule.updates[0].get(name), layout.gradients.read_by(name)
    if loop is None and not summed:
        return
    columns = layout.parameters[name].columns
    with stream.with_body(ChangeBlocks(rows=layout.forms.rows(name), columns=columns, bounds=bounds)):
        _write_body(writer, stream, name, loop, summed, 0, taken=True)


def _write_update(writer: InstructionWriter, phase: int, name: str, columns: int, blocks: range, start: int) -> None:
    """Write the gradient of each block if it is due, and the loop; columns are counted from `start` on."""
    layout, stream = writer.layout, writer.updates[phase]
    loop = layout.task.schedule.updates[phase].get(name)
    # A gradient without a place of its own is computed again for every phase.
    summed = layout.gradients.read_by(name)
    by_code = [a for a in summed if not isinstance(a, Accumulation)]
    due = [a for a in summed if phase == 0 or not layout.gradients.whole]
    if loop is None and not due:
        return
    if phase == 0:
        for sums in by_code:
            _write_row_sums(writer, stream, name, sums, blocks, start, columns)
    if name in layout.forms.flat:
        assert loop is not None, "what is read by rows alone has no gradient that must be computed first"
        _write_flat_change(writer, stream, name, loop, blocks)
    else:
        _write_change_of_blocks(writer, stream, name, loop, due, blocks, start, columns)
    if phase == len(writer.updates) - 1:
        for sums in by_code:
            _write_row_sums(writer, stream, name, sums, blocks, start, columns, clear=True)


def _write_change_of_blocks(
    writer: InstructionWriter,
    stream: InstructionStream,
    name: str,
    loop: Loop | None,
    due: Sequence[Accumulation | RowSums | EntrySums],
    blocks: range,
    start: int,
    columns: int,
) -> None:
    rows = writer.layout.forms.rows(name)
    for part in writer.layout.computed_blocks(name, blocks):
        with stream.with_body(ForBlocks(rows=rows, columns=columns, first=part.start, stop=part.stop)):
            _write_body(writer, stream, name, loop, due, start)


def _write_body(
    writer: InstructionWriter,
    stream: InstructionStream,
    name: str,
    loop: Loop | None,
    due: Sequence[Accumulation | RowSums | EntrySums],
    start: int,
    *,
    taken: bool = False,
) -> None:
    """Write the gradient of a block, and then its change; in between the block is taken, if threads go on with it."""
    written = written_by(writer, name, loop, column=start)
    for accumulation in due:
        if isinstance(accumulation, Accumulation):
            write_gradient(writer, stream, accumulation, written, column=start)
    if taken:
        stream.add(TakeBlock())
    if loop is not None:
        write_change(writer, stream, name, loop, column=start)
        if loop.outputs and name in writer.layout.copied:
            write_copies(writer, stream, name, column=start)


def _write_flat_change(
    writer: InstructionWriter, stream: InstructionStream, name: str, loop: Loop, blocks: range
) -> None:
    """Write the loop over blocks of a parameter that is kept number after number; the last row may be narrower."""
    layout, panel = writer.layout, writer.format.panel
    rows, rest = divmod(layout.forms.numbers(name), panel)
    stop = min(blocks.stop, -(-rows // panel))
    if blocks.start < stop:
        with stream.with_body(ForBlocks(rows=rows, columns=panel, first=blocks.start, stop=stop)):
            write_change(writer, stream, name, loop)
    if rest and blocks.stop * panel > rows:
        with stream.with_body(ForBlocks(rows=1, columns=rest, first=0, stop=1)):
            write_change(writer, stream, name, loop, row=rows)


def _write_row_sums(
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


def write_change(
    writer: InstructionWriter, stream: InstructionStream, name: str, loop: Loop, *, row: int = 0, column: int = 0
) -> None:
    """Write the loop over a block of a parameter; the first block begins at `row` and `column`."""
    layout = writer.layout
    accumulated = {a.node.id: a for a in layout.gradients.read_by(name)}
    operands = []
    for node in loop.reads:
        if node.id in accumulated:
            operands.append(_gradient_address(writer, accumulated[node.id], loop.kind, row, column))
        elif node.op == "input" and layout.forms.kind(node) in (WEIGHTS, UNITS):
            operands.append(layout.in_blocks(layout.parameters[node.attribute], row, column))
        else:
            operands.append(StridedAddress(layout.number(node, writer.number)))
    operands += _replaced(writer, name, loop, row, column)
    operands += [StridedAddress(layout.part(n, writer.number)) for n in loop.reductions]
    block = LoopOverBlock(kernel=writer.kernels.loops[id(loop)], pitch=layout.parameters[name].pitch)
    stream.add(block, operands=operands)


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
                to=_gradient_address(writer, accumulation, UNITS, 0, column),
            )
        )
        return
    by = writer.factors(first, second)
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
            to=_gradient_address(writer, accumulation, WEIGHTS, row, column),
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
            _write_row_sums(writer, stream, None, sums, mine, 0, columns)
            _write_row_sums(writer, writer.updates[-1], None, sums, mine, 0, columns, clear=True)


def written_by(
    writer: InstructionWriter, name: str, loop: Loop | None, *, row: int = 0, column: int = 0
) -> list[StridedAddress]:
    """Return where the update of a block of a parameter writes, if the product of its gradient should prefetch that.

    The first block begins at `row` and `column`. Products on tiles do not prefetch, and small networks need not.
    """
    layout = writer.layout
    changed = sum(m.rows * m.columns for m in layout.parameters.values()) * layout.format.size
    if loop is None or layout.format.amx or changed <= caches().first:
        return []
    copies = []
    if loop.outputs and layout.packed is not None and not layout.packed.distant_weights:
        copies = [address for address in _forms(layout, name, layout.packed, column) if address != NOWHERE]
    elif loop.outputs and name in layout.transposes:
        copies = [_transposed(layout, name)]
    return [*_replaced(writer, name, loop, row, column), *copies]


def _replaced(writer: InstructionWriter, name: str, loop: Loop, row: int, column: int) -> list[StridedAddress]:
    layout = writer.layout
    replaced = layout.task.schedule.written[name] if loop.outputs else ()
    return [layout.in_blocks(layout.parameters[m], row, column) for m in replaced]


def _gradient_address(
    writer: InstructionWriter, accumulation: Accumulation | RowSums | EntrySums, kind: str, row: int, column: int
) -> StridedAddress:
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
