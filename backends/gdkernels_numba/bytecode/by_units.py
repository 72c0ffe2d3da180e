"""A tile by units: threads share the units of each layer, and every weight is read once forward and once back.

Where the rows of a batch are few, a step is as long as its reading and writing of the weights. So there is one layout
of them only, each thread reads its own part of it, and on the way back a block of weights is changed as soon as it has
been multiplied, while it is in the cache.
"""

from collections.abc import Iterator

from gdkernels.graph.nodes import Node
from gdkernels.graph.operations import SCALAR
from gdkernels.lowering.steps import COLUMN, Gather, Loop, Product, kind_of
from gdkernels_numba.bytecode.layout import Layout, runs_over
from gdkernels_numba.bytecode.operands import Tables
from gdkernels_numba.bytecode.update import add_change, add_gradient, written_by

__all__ = ["changed_on_the_way", "columns_of_thread", "write_tile_by_units"]


def changed_on_the_way(layout: Layout) -> dict[int, str]:
    """Return, by the number of the product that reads them last, the weights that can be changed right after it.

    Their gradient must be known by then, and their update must not wait for the whole batch or for other parameters.
    """
    result = layout.task.schedule
    if layout.operands is not None:
        return {}  # both forms of the weights are to be made again
    known: dict[int, int] = {}
    last: dict[str, Product] = {}
    for k, step in enumerate(result.tile):
        if isinstance(step, Product):
            last[step.weights.attribute] = step
            known[step.node.id] = k
        elif isinstance(step, Gather):
            known[step.node.id] = k
        elif isinstance(step, Loop):
            known.update((n.id, k) for n in step.outputs)
    changed = {}
    for name, product in last.items():
        loop = result.updates[0].get(name) if len(result.updates) == 1 else None
        if loop is None or not product.transposed or layout.is_turned(product.weights):
            continue
        summed = layout.accumulated_for(name)
        mine = {a.node.id for a in summed}
        at = known[product.node.id]
        waits = any(known.get(o.id, at) >= at for a in summed for o in a.operands)
        if not waits and all(n.id in mine or n.op == "input" or n.dtype == SCALAR for n in loop.reads):
            changed[product.node.id] = name
    return changed


def write_tile_by_units(tables: Tables, prediction: Node | None) -> None:
    """Write what this thread does to the whole batch, and where it waits for the others."""
    layout = tables.layout
    steps = layout.task.schedule.tile
    changed = changed_on_the_way(layout)
    done, gathered = -1, 0
    for k, step in enumerate(steps):
        if k <= done:
            continue
        following = steps[k + 1] if k + 1 < len(steps) else None
        if isinstance(step, Gather):
            if k and not isinstance(steps[k - 1], Gather):
                tables.tile.add("MEET")
            _add_gather(tables, step, gathered)
            gathered += 1
        elif isinstance(step, Product):
            tables.tile.add("MEET")
            fused = following if isinstance(following, Loop) and runs_over(following, step.node) else None
            if fused is not None and _reduces_rows(tables, fused):
                fused = None
            _add_product(tables, step, fused, changed.get(step.node.id))
            done = k + (fused is not None)
        elif isinstance(step, Loop):
            tables.tile.add("MEET")
            _add_shared_loop(tables, step)
    if prediction is not None:
        tables.tile.add("MEET")
        if tables.thread == 0:
            tables.add_scatter(prediction)


def _reduces_rows(tables: Tables, loop: Loop) -> bool:
    """Whether a loop needs all columns of a row at once."""
    return any(kind_of(n, tables.layout.task.batch) == COLUMN for n in loop.reductions)


def columns_of_thread(tables: Tables, columns: int) -> Iterator[tuple[int, int]]:
    """Yield this thread's columns: from and to, in pieces that begin a panel or lie in one."""
    width, panel, threads = tables.format.padding, tables.format.panel, tables.layout.choices.threads
    vectors = -(-columns // width)
    start, stop = (k * vectors // threads * width for k in (tables.thread, tables.thread + 1))
    stop = min(stop, columns)
    if start % panel and start < stop:
        inside = min(stop, start - start % panel + panel)
        yield start, inside
        start = inside
    if start < stop:
        yield start, stop


def _add_gather(tables: Tables, step: Gather, number: int) -> None:
    """Let this thread gather its columns; what is too narrow to be shared is gathered by the threads in turn."""
    layout, threads = tables.layout, tables.layout.choices.threads
    if layout.kind(step.node) == COLUMN or layout.size(step.node, 1) < threads * tables.format.padding:
        if number % threads == tables.thread:
            tables.add_gather(step)
            tables.add_narrow(step.node)
        return
    for start, stop in columns_of_thread(tables, layout.size(step.node, 1)):
        tables.add_gather(step, start, stop)
        tables.add_narrow(step.node, start, stop)


def _add_loop(tables: Tables, step: Loop, start: int = 0, stop: int | None = None) -> None:
    tables.add_loop(step, start, stop)
    for node in step.outputs:
        tables.add_narrow(node, start, stop)


def _add_shared_loop(tables: Tables, step: Loop) -> None:
    if step.kind == COLUMN or _reduces_rows(tables, step):
        if tables.thread == 0:
            _add_loop(tables, step)
        return
    for start, stop in columns_of_thread(tables, tables.layout.columns_of(step)):
        _add_loop(tables, step, start, stop)


def _add_product(tables: Tables, step: Product, fused: Loop | None, changed: str | None) -> None:
    layout = tables.layout
    result, _ = layout.buffer(step.node, tables.thread)
    turned = layout.is_turned(step.weights)
    if turned and not step.transposed:
        if tables.thread == 0:
            with tables.product(step):
                if fused is not None:
                    tables.add_loop(fused)
        return
    for start, stop in columns_of_thread(tables, result.columns):
        if step.transposed and not turned and layout.operands is None:
            _add_back(tables, step, start, stop, fused, changed)
            continue
        with tables.product(step, start, stop):
            tables.add_narrow(step.node, start, stop)
            if fused is not None:
                _add_loop(tables, fused, start, stop)


def _add_back(tables: Tables, step: Product, start: int, stop: int, fused: Loop | None, changed: str | None) -> None:
    """Multiply with rows `start` to `stop` of the weights, panel by panel, and change each block after that."""
    layout, panel = tables.layout, tables.format.panel
    left, _ = layout.buffer(step.left, tables.thread)
    result, _ = layout.buffer(step.node, tables.thread)
    weights = layout.parameters[step.weights.attribute]
    first = start
    while first < stop:
        after = min(stop, first - first % panel + panel)
        place = layout.in_blocks(weights, first)
        blocks = -(-weights.columns // panel)
        with tables.tile.blocks(after - first, weights.columns, 0, blocks):
            tables.tile.add(
                "BACK",
                tables.kernel("product_by_rows"),
                left.address,
                left.panel,
                left.pitch,
                place.base,
                place.panel,
                weights.pitch,
                layout.at_column(result, first),
                result.pitch,
            )
            if changed is not None:
                loop = layout.task.schedule.updates[0][changed]
                written = written_by(tables, changed, loop, row=first)
                for accumulation in layout.accumulated_for(changed):
                    add_gradient(tables, tables.tile, accumulation, written, row=first)
                add_change(tables, tables.tile, changed, loop, row=first)
        if fused is not None:
            tables.add_loop(fused, first, after)
        first = after
