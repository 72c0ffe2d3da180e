"""The update: numbers that follow from totals, and the blocks of the parameters."""

from collections.abc import Sequence

from gdkernels.graph.nodes import Node
from gdkernels.lowering.steps import UNITS, WEIGHTS, Accumulation, Loop, value_of
from gdkernels_numba.bytecode.forms import NOWHERE, Operands
from gdkernels_numba.bytecode.layout import Layout
from gdkernels_numba.bytecode.operands import Tables
from gdkernels_numba.cpu.features import caches
from gdkernels_numba.vm.instructions import Place, Table

__all__ = [
    "add_blocks", "add_change", "add_columns", "add_copies", "add_gradient", "add_numbers", "add_record", "written_by",
]  # fmt: skip


def add_numbers(tables: Tables, phase: int, totals: Sequence[Node]) -> None:
    """Write how the numbers of a phase come about, in every thread alike."""
    layout, table = tables.layout, tables.updates[phase]
    for node in totals:
        table.add("TOTAL", layout.part(node, 0), layout.number(node, tables.thread))
    loop = layout.task.schedule.numbers[phase]
    if loop is not None:
        places = [Place(layout.number(n, tables.thread)) for n in (*loop.reads, *loop.outputs)]
        table.add("NUMBER_LOOP", tables.kernels.loops[id(loop)], operands=places)


def add_record(tables: Tables, node: Node, to: int) -> None:
    tables.updates[-1].add("RECORD", tables.layout.number(value_of(node), tables.thread), to)


def add_copies(tables: Tables, table: Table, name: str, *, column: int = 0) -> None:
    """Refresh, for a block of weights, what products read instead of them; the first block begins at `column`."""
    layout = tables.layout
    if layout.operands is not None:
        _add_forms(tables, table, name, layout.operands, column)
        return
    source, target = layout.parameters[name], layout.transposes[name]
    turned = _turned(layout, name)
    table.add("TRANSPOSE", tables.kernel("transpose"), layout.in_blocks(source), source.pitch, turned, target.pitch)


def _turned(layout: Layout, name: str) -> Place:
    """Return where the blocks of the transpose are that belong to those of some weights."""
    target = layout.transposes[name]
    down, across = layout.in_blocks(target)[1:]
    return Place(target.address, across, down)


def _add_forms(tables: Tables, table: Table, name: str, operands: Operands, column: int) -> None:
    layout = tables.layout
    source = layout.parameters[name]
    to_right, to_back = _forms(layout, name, operands, column)
    pitches = [forms[name].pitch if name in forms else 0 for forms in (operands.right, operands.back)]
    block = (layout.in_blocks(source, column=column), source.pitch)
    kernel = tables.kernel("narrow_distant_weights" if operands.distant_weights else "narrow_weights")
    table.add("NARROW_BLOCK", kernel, *block, to_right, pitches[0], to_back, pitches[1])


def _forms(layout: Layout, name: str, operands: Operands, column: int) -> tuple[Place, Place]:
    """Return where the blocks of the forms right and back are that belong to those of some weights."""
    panel = layout.format.panel
    right, back = operands.right.get(name), operands.back.get(name)
    # A block below is half as many rows of pairs further in the one, a panel further in the other.
    to_right, to_back = NOWHERE, NOWHERE
    if right is not None:
        to_right = Place(layout.at_column(right, column), panel // 2 * right.pitch, right.panel)
    if back is not None:
        to_back = Place(back.address + column // 2 * back.pitch, back.panel, panel // 2 * back.pitch)
    return to_right, to_back


def add_blocks(tables: Tables, phase: int, name: str, first: int, stop: int) -> None:
    """Write the work on some blocks of a parameter."""
    parameter = tables.layout.parameters[name]
    _add_work(tables, phase, name, parameter.columns, range(first, stop), 0)


def add_columns(tables: Tables, phase: int, name: str, start: int, stop: int) -> None:
    """Write the work on some columns of a parameter; they begin a panel or lie in one."""
    layout, panel = tables.layout, tables.format.panel
    blocks = -(-layout.rows(name) // panel) * -(-(stop - start) // panel)
    _add_work(tables, phase, name, stop - start, range(blocks), start)


def _add_work(tables: Tables, phase: int, name: str, columns: int, blocks: range, start: int) -> None:
    """Write the gradient of each block if it is due, and the loop; columns are counted from `start` on."""
    layout, table = tables.layout, tables.updates[phase]
    loop = layout.task.schedule.updates[phase].get(name)
    # A gradient that nobody keeps is computed again for every phase.
    due = layout.accumulated_for(name) if phase == 0 or not layout.whole_gradients else []
    if loop is None and not due:
        return
    written = written_by(tables, name, loop, column=start)
    with table.blocks(layout.rows(name), columns, blocks.start, blocks.stop):
        for accumulation in due:
            add_gradient(tables, table, accumulation, written, column=start)
        if loop is not None:
            add_change(tables, table, name, loop, column=start)
            if loop.outputs and name in layout.copied:
                add_copies(tables, table, name, column=start)


def add_change(tables: Tables, table: Table, name: str, loop: Loop, *, row: int = 0, column: int = 0) -> None:
    """Write the loop over a block of a parameter; the first block begins at `row` and `column`."""
    layout = tables.layout
    accumulated = {a.node.id: a for a in layout.accumulated_for(name)}
    places = []
    for node in loop.reads:
        if node.id in accumulated:
            places.append(_gradient_place(tables, accumulated[node.id], loop.kind, row, column))
        elif node.op == "input" and layout.kind(node) in (WEIGHTS, UNITS):
            places.append(layout.in_blocks(layout.parameters[node.attribute], row, column))
        else:
            places.append(Place(layout.number(node, tables.thread)))
    places += _replaced(tables, name, loop, row, column)
    places += [Place(layout.part(n, tables.thread)) for n in loop.reductions]
    pitch = layout.parameters[name].pitch
    table.add("BLOCK_LOOP", tables.kernels.loops[id(loop)], pitch, operands=places)


def add_gradient(
    tables: Tables,
    table: Table,
    accumulation: Accumulation,
    written: Sequence[Place],
    *,
    row: int = 0,
    column: int = 0,
) -> None:
    """Write how a block of a gradient comes about; the first block begins at `row` and `column`.

    What is `written` next is brought near meanwhile.
    """
    layout, panel = tables.layout, tables.format.panel
    if layout.is_private(accumulation):
        _add_private_gradients(tables, table, accumulation)
        return
    first, second = layout.factors(accumulation)
    if first is None:
        right, _ = layout.buffer(second, tables.thread)
        d, to = layout.at_column(right, column), _gradient_place(tables, accumulation, UNITS, 0, column)
        table.add("SUMS", tables.kernel("column_sums"), d, right.panel, right.pitch, to.base, to.panel)
        return
    by = tables.factors(first, second)
    table.add(
        "GRADIENT",
        by.kernel,
        by.first.base + row // panel * by.block + row % panel * by.unit,
        by.block,
        by.pitch,
        by.panel,
        by.term,
        by.second.base + column // panel * by.second.panel + column % panel * tables.format.size,
        by.second.panel,
        by.second_pitch,
        _gradient_place(tables, accumulation, WEIGHTS, row, column),
        by.second_pitch,
        operands=written,
    )


def written_by(tables: Tables, name: str, loop: Loop | None, *, row: int = 0, column: int = 0) -> list[Place]:
    """Return where the update of a block of a parameter writes, if its gradient's product is to bring that near.

    The first block begins at `row` and `column`. Products on tiles do not, and small networks are near anyway.
    """
    layout = tables.layout
    changed = sum(m.rows * m.columns for m in layout.parameters.values()) * layout.format.size
    if loop is None or layout.format.tiled or changed <= caches().first:
        return []
    copies = []
    if loop.outputs and layout.operands is not None and not layout.operands.distant_weights:
        copies = [place for place in _forms(layout, name, layout.operands, column) if place != NOWHERE]
    elif loop.outputs and name in layout.transposes:
        copies = [_turned(layout, name)]
    return [*_replaced(tables, name, loop, row, column), *copies]


def _replaced(tables: Tables, name: str, loop: Loop, row: int, column: int) -> list[Place]:
    layout = tables.layout
    replaced = layout.task.schedule.written[name] if loop.outputs else ()
    return [layout.in_blocks(layout.parameters[m], row, column) for m in replaced]


def _gradient_place(tables: Tables, accumulation: Accumulation, kind: str, row: int, column: int) -> Place:
    layout = tables.layout
    matrix = layout.gradients[0 if layout.is_private(accumulation) else tables.thread][accumulation.node.id]
    if kind != UNITS and not layout.whole_gradients:
        return Place(matrix.address)
    return layout.in_blocks(matrix, row, column)


def _add_private_gradients(tables: Tables, table: Table, accumulation: Accumulation) -> None:
    """Add the other threads' gradients to the first one's."""
    layout = tables.layout
    target = layout.gradients[0][accumulation.node.id]
    for other in range(1, layout.choices.threads):
        source = layout.gradients[other][accumulation.node.id]
        places = layout.in_blocks(source), layout.in_blocks(target)
        table.add("ADD", tables.kernel("add"), *places, target.pitch, other)
