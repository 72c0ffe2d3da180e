"""A tile by rows: each thread takes its rows of the batch through all layers, forward and back."""

from gdkernels.graph.nodes import Node
from gdkernels.graph.steps import Accumulation, Gather, Loop, Product
from gdkernels_numba.bind import Tables
from gdkernels_numba.layout import runs_over

__all__ = ["write_tile_by_rows"]


def write_tile_by_rows(tables: Tables, prediction: Node | None) -> None:
    """Write what happens to every tile of this thread's rows."""
    steps = tables.layout.task.schedule.tile
    for k, step in enumerate(steps):
        if isinstance(step, Gather):
            tables.add_gather(step)
        elif isinstance(step, Product):
            following = steps[k + 1] if k + 1 < len(steps) else None
            _add_product(tables, step, fused=runs_over(following, step.node))
        elif isinstance(step, Loop):
            tables.add_loop(step)
        elif tables.layout.choices.depth_first:
            _add_accumulation(tables, step)
    if prediction is not None:
        tables.add_scatter(prediction)


def _add_product(tables: Tables, step: Product, *, fused: bool) -> None:
    layout = tables.layout
    left, a = layout.buffer(step.left, tables.thread)
    result, c = layout.buffer(step.node, tables.thread)
    name = step.weights.attribute
    weights = layout.transposes.get(name) if step.transposed else None
    weights = weights or layout.parameters[name]
    if layout.is_turned(step.weights) and not step.transposed:
        kernel = tables.kernel("dots")
        tables.tile.add("DOTS", kernel, left.columns, a, left.pitch, weights.address, c, result.pitch, int(fused))
        return
    tables.tile.add(
        "PRODUCT",
        tables.kernel("product"),
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
    left, a = layout.buffer(first, tables.thread)
    tables.tile.add(
        "TILE_GRADIENT",
        tables.kernel("product_transposed"),
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
