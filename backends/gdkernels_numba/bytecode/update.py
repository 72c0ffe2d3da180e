"""The update: numbers that follow from totals, and the blocks of the parameters."""

from collections.abc import Sequence

from gdkernels.graph.nodes import Node
from gdkernels.lowering.steps import UNITS, WEIGHTS, Accumulation, EntrySums, Loop, RowSums, value_of
from gdkernels_numba.bytecode.gradient_blocks import gradient_address, write_gradient, write_row_sums
from gdkernels_numba.bytecode.packed import NOWHERE
from gdkernels_numba.bytecode.stream import InstructionStream
from gdkernels_numba.bytecode.weight_copies import forms_of_blocks, transpose_of_blocks, write_copies
from gdkernels_numba.bytecode.writer import InstructionWriter
from gdkernels_numba.cpu.features import caches
from gdkernels_numba.vm.block_instructions import (
    AddToResult,
    ChangeBlocks,
    ForBlocks,
    LoopOverBlock,
    LoopOverNumbers,
    SumOverPieces,
    TakeBlock,
)
from gdkernels_numba.vm.fields import StridedAddress

__all__ = [
    "write_blocks",
    "write_change",
    "write_changes",
    "write_columns",
    "write_numbers",
    "write_result",
    "written_by",
]


def write_numbers(writer: InstructionWriter, stream: InstructionStream, phase: int, totals: Sequence[Node]) -> None:
    """Write the computation of a phase's numbers, which every piece does alike."""
    layout = writer.layout
    for node in totals:
        target = layout.numbers.of(node, writer.number)
        if phase == 0:  # a total over the batch
            source, sums, parts = layout.numbers.part_of_rows(node), layout.choices.pieces, layout.tiles
        else:
            source, sums, parts = layout.numbers.part(node, 0), 1, layout.update_pieces
        stream.add(SumOverPieces(source=source, sums=sums, parts=parts, target=target))
    loop = layout.task.schedule.numbers[phase]
    if loop is not None:
        operands = [StridedAddress(layout.numbers.of(n, writer.number)) for n in (*loop.reads, *loop.outputs)]
        stream.add(LoopOverNumbers(kernel=writer.kernels.loops[id(loop)]), operands=operands)


def write_result(writer: InstructionWriter, node: Node, to: int) -> None:
    """Write the addition of a number to the result of the run, for every batch."""
    source = writer.layout.numbers.of(value_of(node), writer.number)
    writer.result.add(AddToResult(source=source, target=to))


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
            write_row_sums(writer, stream, name, sums, blocks, start, columns)
    if name in layout.forms.flat:
        assert loop is not None, "what is read by rows alone has no gradient that must be computed first"
        _write_flat_change(writer, stream, name, loop, blocks)
    else:
        _write_change_of_blocks(writer, stream, name, loop, due, blocks, start, columns)
    if phase == len(writer.updates) - 1:
        for sums in by_code:
            write_row_sums(writer, stream, name, sums, blocks, start, columns, clear=True)


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


def write_change(
    writer: InstructionWriter, stream: InstructionStream, name: str, loop: Loop, *, row: int = 0, column: int = 0
) -> None:
    """Write the loop over a block of a parameter; the first block begins at `row` and `column`."""
    layout = writer.layout
    accumulated = {a.node.id: a for a in layout.gradients.read_by(name)}
    operands = []
    for node in loop.reads:
        if node.id in accumulated:
            operands.append(gradient_address(writer, accumulated[node.id], loop.kind, row, column))
        elif node.op == "input" and layout.forms.kind(node) in (WEIGHTS, UNITS):
            operands.append(layout.in_blocks(layout.parameters[node.attribute], row, column))
        else:
            operands.append(StridedAddress(layout.numbers.of(node, writer.number)))
    operands += _replaced(writer, name, loop, row, column)
    operands += [StridedAddress(layout.numbers.part(n, writer.number)) for n in loop.reductions]
    block = LoopOverBlock(kernel=writer.kernels.loops[id(loop)], pitch=layout.parameters[name].pitch)
    stream.add(block, operands=operands)


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
        copies = [address for address in forms_of_blocks(layout, name, layout.packed, column) if address != NOWHERE]
    elif loop.outputs and name in layout.transposes:
        copies = [transpose_of_blocks(layout, name)]
    return [*_replaced(writer, name, loop, row, column), *copies]


def _replaced(writer: InstructionWriter, name: str, loop: Loop, row: int, column: int) -> list[StridedAddress]:
    layout = writer.layout
    replaced = layout.task.schedule.written[name] if loop.outputs else ()
    return [layout.in_blocks(layout.parameters[m], row, column) for m in replaced]
