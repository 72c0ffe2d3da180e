"""The update: numbers that follow from totals, and the blocks of the parameters."""

from collections.abc import Sequence

from gdkernels.graph.nodes import Node
from gdkernels.graph.steps import UNITS, WEIGHTS, Accumulation, Loop, value_of
from gdkernels_numba.bind import Tables
from gdkernels_numba.table import Place, Table

__all__ = ["add_blocks", "add_change", "add_columns", "add_gradient", "add_numbers", "add_record", "add_transpose"]


def add_numbers(tables: Tables, phase: int, totals: Sequence[Node]) -> None:
    """Write how the numbers of a phase come about, in every thread alike."""
    layout, table = tables.layout, tables.updates[phase]
    for node in totals:
        table.add("TOTAL", layout.part(node, 0), layout.number(node, tables.thread))
    loop = layout.task.schedule.numbers[phase]
    if loop is not None:
        places = [Place(layout.number(n, tables.thread)) for n in (*loop.reads, *loop.outputs)]
        table.add("NUMBER_LOOP", layout.task.kernels[id(loop)], operands=places)


def add_record(tables: Tables, node: Node, to: int) -> None:
    tables.updates[-1].add("RECORD", tables.layout.number(value_of(node), tables.thread), to)


def add_transpose(tables: Tables, table: Table, name: str) -> None:
    """Refresh a block of a transpose."""
    layout = tables.layout
    source, target = layout.parameters[name], layout.transposes[name]
    down, across = layout.in_blocks(target)[1:]
    turned = Place(target.address, across, down)
    table.add("TRANSPOSE", tables.kernel("transpose"), layout.in_blocks(source), source.pitch, turned, target.pitch)


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
    with table.blocks(layout.rows(name), columns, blocks.start, blocks.stop):
        for accumulation in due:
            add_gradient(tables, table, accumulation, column=start)
        if loop is not None:
            add_change(tables, table, name, loop, column=start)
            if loop.outputs and name in layout.transposes:
                add_transpose(tables, table, name)


def add_change(tables: Tables, table: Table, name: str, loop: Loop, *, row: int = 0, column: int = 0) -> None:
    """Write the loop over a block of a parameter; the first block begins at `row` and `column`."""
    layout = tables.layout
    accumulated = {a.node.id for a in layout.accumulated_for(name)}
    places = []
    for node in loop.reads:
        if node.id in accumulated:
            places.append(_gradient_place(tables, node, loop.kind, row, column))
        elif node.op == "input" and layout.kind(node) in (WEIGHTS, UNITS):
            places.append(layout.in_blocks(layout.parameters[node.attribute], row, column))
        else:
            places.append(Place(layout.number(node, tables.thread)))
    replaced = layout.task.schedule.written[name] if loop.outputs else ()
    places += [layout.in_blocks(layout.parameters[m], row, column) for m in replaced]
    places += [Place(layout.part(n, tables.thread)) for n in loop.reductions]
    pitch = layout.parameters[name].pitch
    table.add("BLOCK_LOOP", layout.task.kernels[id(loop)], pitch, operands=places)


def add_gradient(tables: Tables, table: Table, accumulation: Accumulation, *, row: int = 0, column: int = 0) -> None:
    """Write how a block of a gradient comes about; the first block begins at `row` and `column`."""
    layout = tables.layout
    if layout.choices.depth_first:
        _add_private_gradients(tables, table, accumulation)
        return
    first, second = layout.factors(accumulation)
    right, _ = layout.buffer(second, tables.thread)
    d = layout.at_column(right, column)
    if first is None:
        to = _gradient_place(tables, accumulation.node, UNITS, 0, column)
        table.add("SUMS", tables.kernel("column_sums"), d, right.panel, right.pitch, to.base, to.panel)
        return
    left, _ = layout.buffer(first, tables.thread)
    table.add(
        "GRADIENT",
        tables.kernel("product_transposed"),
        layout.at_column(left, row),
        left.panel,
        left.pitch,
        d,
        right.panel,
        right.pitch,
        _gradient_place(tables, accumulation.node, WEIGHTS, row, column),
        right.pitch,
    )


def _gradient_place(tables: Tables, node: Node, kind: str, row: int, column: int) -> Place:
    layout = tables.layout
    matrix = layout.gradients[0 if layout.choices.depth_first else tables.thread][node.id]
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
