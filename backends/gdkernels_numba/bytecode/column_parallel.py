"""Column-parallel tiles: the pieces are of the units of each layer, and weights are read once forward and once back.

If a batch has few rows, a step takes as long as reading and writing the weights. So the weights have one layout only,
and each piece reads its own part of it. On the way back, a piece changes a block of weights as soon as it has
multiplied with it, while the block is in the cache.
"""

from collections.abc import Iterator

from gdkernels.graph.nodes import Node
from gdkernels.graph.operations import SCALAR
from gdkernels.lowering.steps import (
    COLUMN,
    Accumulation,
    Copy,
    EntryProduct,
    Gather,
    LookUp,
    Loop,
    Outer,
    Product,
    RowProduct,
    kind_of,
)
from gdkernels_numba.bytecode.gradient_blocks import write_gradient
from gdkernels_numba.bytecode.layout import StepLayout, runs_over
from gdkernels_numba.bytecode.tile_moves import write_gather, write_move, write_scatter
from gdkernels_numba.bytecode.update import write_change, written_by
from gdkernels_numba.bytecode.writer import InstructionWriter
from gdkernels_numba.vm.block_instructions import ForBlocks, MultiplyBack
from gdkernels_numba.vm.fields import StridedAddress

__all__ = ["changed_on_the_way", "columns_of_thread", "write_column_parallel"]


def changed_on_the_way(layout: StepLayout) -> dict[int, str]:
    """Return, by the number of the product that reads them last, the weights that can be changed right after it.

    Their gradient must be known by then, and their update must not wait for the whole batch or for other parameters.
    """
    result = layout.task.schedule
    if layout.packed is not None or layout.values is not None:
        return {}  # both forms of the weights are to be made again; or others are computed of them after the batch
    known: dict[int, int] = {}
    last: dict[str, Product] = {}
    for k, step in enumerate(result.tile):
        if isinstance(step, Product):
            last[step.weights.attribute] = step
            known[step.node.id] = k
        elif isinstance(step, (Copy, EntryProduct, Gather, LookUp, RowProduct)):
            known[step.node.id] = k
        elif isinstance(step, Loop):
            known.update((n.id, k) for n in step.outputs)
    changed = {}
    for name, product in last.items():
        loop = result.updates[0].get(name) if len(result.updates) == 1 else None
        if loop is None or not product.transposed or layout.forms.is_kept_as_row(product.weights):
            continue
        summed = layout.gradients.read_by(name)
        if not all(isinstance(a, Accumulation) for a in summed):
            continue
        mine = {a.node.id for a in summed}
        at = known[product.node.id]
        waits = any(known.get(o.id, at) >= at for a in summed for o in a.operands)
        if not waits and all(n.id in mine or n.op == "input" or n.dtype == SCALAR for n in loop.reads):
            changed[product.node.id] = name
    return changed


def write_column_parallel(writer: InstructionWriter, prediction: Node | None) -> None:
    """Write what this piece does to the whole batch, and where the others must have come as far."""
    layout = writer.layout
    steps = layout.task.schedule.tile
    changed = changed_on_the_way(layout)
    done, gathered = -1, 0
    for k, step in enumerate(steps):
        if k <= done:
            continue
        following = steps[k + 1] if k + 1 < len(steps) else None
        if isinstance(step, Gather):
            if k and not isinstance(steps[k - 1], Gather):
                writer.write_barrier()
            _write_gather(writer, step, gathered)
            gathered += 1
        elif isinstance(step, (Copy, EntryProduct, LookUp, Outer, RowProduct)):
            writer.write_barrier()
            if writer.number == 0:
                write_move(writer, step)
        elif isinstance(step, Product):
            writer.write_barrier()
            fused = following if isinstance(following, Loop) and runs_over(following, step.node) else None
            if fused is not None and _reduces_rows(writer, fused):
                fused = None
            _write_product(writer, step, fused, changed.get(step.node.id))
            done = k + (fused is not None)
        elif isinstance(step, Loop):
            writer.write_barrier()
            _write_shared_loop(writer, step)
    if prediction is not None:
        writer.write_barrier()
        if writer.number == 0:
            write_scatter(writer, prediction)


def _reduces_rows(writer: InstructionWriter, loop: Loop) -> bool:
    """Return whether a loop needs all columns of a row at once."""
    return any(kind_of(n, writer.layout.task.batch) == COLUMN for n in loop.reductions)


def columns_of_thread(writer: InstructionWriter, columns: int) -> Iterator[tuple[int, int]]:
    """Yield this piece's columns: from and to, in pieces that begin a panel or lie in one."""
    width, panel, pieces = writer.format.padding, writer.format.panel, writer.layout.choices.pieces
    vectors = -(-columns // width)
    start, stop = (k * vectors // pieces * width for k in (writer.number, writer.number + 1))
    stop = min(stop, columns)
    if start % panel and start < stop:
        inside = min(stop, start - start % panel + panel)
        yield start, inside
        start = inside
    if start < stop:
        yield start, stop


def _write_gather(writer: InstructionWriter, step: Gather, number: int) -> None:
    """Let this piece gather its columns; the pieces take turns at arrays too narrow to be shared."""
    layout, pieces = writer.layout, writer.layout.choices.pieces
    if layout.forms.kind(step.node) == COLUMN or layout.forms.size(step.node, 1) < pieces * writer.format.padding:
        if number % pieces == writer.number:
            write_gather(writer, step)
            writer.write_packed(step.node)
        return
    for start, stop in columns_of_thread(writer, layout.forms.size(step.node, 1)):
        write_gather(writer, step, start, stop)
        writer.write_packed(step.node, start, stop)


def _write_loop(writer: InstructionWriter, step: Loop, start: int = 0, stop: int | None = None) -> None:
    writer.write_loop(step, start, stop)
    for node in step.outputs:
        writer.write_packed(node, start, stop)


def _write_shared_loop(writer: InstructionWriter, step: Loop) -> None:
    if step.kind == COLUMN or _reduces_rows(writer, step):
        if writer.number == 0:
            _write_loop(writer, step)
        return
    for start, stop in columns_of_thread(writer, writer.layout.columns_of(step)):
        _write_loop(writer, step, start, stop)


def _write_product(writer: InstructionWriter, step: Product, fused: Loop | None, changed: str | None) -> None:
    layout = writer.layout
    result, _ = layout.buffer(step.node, writer.number)
    kept_as_row = layout.forms.is_kept_as_row(step.weights)
    if kept_as_row and not step.transposed:
        if writer.number == 0:
            with writer.write_product(step):
                if fused is not None:
                    writer.write_loop(fused)
        return
    for start, stop in columns_of_thread(writer, result.columns):
        if step.transposed and not kept_as_row and layout.packed is None:
            _write_back(writer, step, start, stop, fused, changed)
            continue
        with writer.write_product(step, start, stop):
            writer.write_packed(step.node, start, stop)
            if fused is not None:
                _write_loop(writer, fused, start, stop)


def _write_back(
    writer: InstructionWriter, step: Product, start: int, stop: int, fused: Loop | None, changed: str | None
) -> None:
    """Multiply with rows `start` to `stop` of the weights, panel by panel, and change each block after that."""
    layout, panel = writer.layout, writer.format.panel
    left, _ = layout.buffer(step.left, writer.number)
    result, _ = layout.buffer(step.node, writer.number)
    weights = layout.parameters[step.weights.attribute]
    transposed = layout.choices.transposed_back
    first = start
    while first < stop:
        after = min(stop, first - first % panel + panel)
        address = layout.in_blocks(weights, first)
        blocks = -(-weights.columns // panel)
        with writer.tile.with_body(ForBlocks(rows=after - first, columns=weights.columns, first=0, stop=blocks)):
            writer.tile.add(
                MultiplyBack(
                    kernel=writer.kernel("product" if transposed else "product_by_rows"),
                    transpose=writer.kernel("transpose") if transposed else 0,
                    transposed=layout.transposed_block[writer.number] if transposed else 0,
                    d=StridedAddress(left.address, 0, left.panel),
                    d_pitch=left.pitch,
                    w=address,
                    w_pitch=weights.pitch,
                    c=layout.at_column(result, first),
                    c_pitch=result.pitch,
                )
            )
            if changed is not None:
                loop = layout.task.schedule.updates[0][changed]
                written = written_by(writer, changed, loop, row=first)
                for accumulation in layout.gradients.read_by(changed):
                    assert isinstance(accumulation, Accumulation), "what is summed by code is not changed on the way"
                    write_gradient(writer, writer.tile, accumulation, written, row=first)
                write_change(writer, writer.tile, changed, loop, row=first)
        if fused is not None:
            writer.write_loop(fused, first, after)
        first = after
