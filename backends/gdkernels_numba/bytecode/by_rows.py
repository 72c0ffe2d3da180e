"""A tile by rows: each thread takes its rows of the batch through all layers, forward and back."""

from gdkernels.graph.nodes import Node
from gdkernels.lowering.steps import Accumulation, Gather, Loop, Product
from gdkernels_numba.bytecode.layout import runs_over
from gdkernels_numba.bytecode.operands import Tables

__all__ = ["write_tile_by_rows"]


def write_tile_by_rows(tables: Tables, prediction: Node | None) -> None:
    """Write what happens to every tile of this thread's rows."""
    steps = tables.layout.task.schedule.tile
    done = -1
    for k, step in enumerate(steps):
        if k <= done:
            continue
        if isinstance(step, Gather):
            tables.add_gather(step)
            tables.add_narrow(step.node)
        elif isinstance(step, Product):
            following = steps[k + 1] if k + 1 < len(steps) else None
            fused = following if isinstance(following, Loop) and runs_over(following, step.node) else None
            with tables.product(step):
                tables.add_narrow(step.node)
                if fused is not None:
                    _add_loop(tables, fused)
            done = k + (fused is not None)
        elif isinstance(step, Loop):
            _add_loop(tables, step)
        elif tables.layout.is_private(step):
            _add_accumulation(tables, step)
    if prediction is not None:
        tables.add_scatter(prediction)


def _add_loop(tables: Tables, step: Loop) -> None:
    tables.add_loop(step)
    for node in step.outputs:
        tables.add_narrow(node)


def _add_accumulation(tables: Tables, step: Accumulation) -> None:
    layout = tables.layout
    first, second = layout.factors(step)
    right, d = layout.buffer(second, tables.thread)
    target = layout.gradients[tables.thread].get(step.node.id)
    if target is None:
        return  # no update reads it
    if first is None:
        tables.tile.add("TILE_SUMS", tables.kernel("column_sums"), right.columns, d, right.pitch, target.address)
        return
    by = tables.factors(first, second)
    tables.tile.add(
        "TILE_GRADIENT",
        by.kernel,
        layout.size(first, 1),
        right.columns,
        by.first.base,
        by.first.row,
        by.block,
        by.pitch,
        by.panel,
        by.second,
        by.second_pitch,
        target.address,
        target.pitch,
        target.panel,
    )
