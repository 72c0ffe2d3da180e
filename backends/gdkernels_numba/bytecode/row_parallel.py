"""Row-parallel tiles: each piece of the batch goes through all layers, forward and back."""

from gdkernels.graph.nodes import Node
from gdkernels.lowering.steps import Accumulation, Copy, EntryProduct, Gather, LookUp, Loop, Outer, Product, RowProduct
from gdkernels_numba.bytecode.layout import runs_over
from gdkernels_numba.bytecode.tile_moves import write_gather, write_move, write_scatter
from gdkernels_numba.bytecode.writer import InstructionWriter
from gdkernels_numba.vm.fields import StridedAddress
from gdkernels_numba.vm.tile_instructions import AddTileGradient, AddTileSums

__all__ = ["write_row_parallel"]


def write_row_parallel(writer: InstructionWriter, prediction: Node | None) -> None:
    """Write what happens to every tile of a piece's rows."""
    steps = writer.layout.task.schedule.tile
    done = -1
    for k, step in enumerate(steps):
        if k <= done:
            continue
        if isinstance(step, Gather):
            write_gather(writer, step)
            writer.write_packed(step.node)
        elif isinstance(step, (Copy, EntryProduct, LookUp, Outer, RowProduct)):
            write_move(writer, step)
        elif isinstance(step, Product):
            following = steps[k + 1] if k + 1 < len(steps) else None
            fused = following if isinstance(following, Loop) and runs_over(following, step.node) else None
            with writer.write_product(step):
                writer.write_packed(step.node)
                if fused is not None:
                    _write_loop(writer, fused)
            done = k + (fused is not None)
        elif isinstance(step, Loop):
            _write_loop(writer, step)
        elif writer.layout.gradients.is_private(step):
            _write_accumulation(writer, step)
    if prediction is not None:
        write_scatter(writer, prediction)


def _write_loop(writer: InstructionWriter, step: Loop) -> None:
    writer.write_loop(step)
    for node in step.outputs:
        writer.write_packed(node)


def _write_accumulation(writer: InstructionWriter, step: Accumulation) -> None:
    layout = writer.layout
    first, second = layout.gradients.factors(step)
    right, d = layout.buffer(second, writer.number)
    # A thread's tiles are those of any piece: which one shifts the address.
    target = layout.gradients.of[writer.number if layout.by_piece else 0].get(step.node.id)
    if target is None:
        return  # no update reads it
    if first is None:
        writer.tile.add(
            AddTileSums(
                kernel=writer.kernel("column_sums"), columns=right.columns, d=d, d_pitch=right.pitch, to=target.address
            )
        )
        return
    by = writer.factors(first, second)
    writer.tile.add(
        AddTileGradient(
            kernel=by.kernel,
            depth=layout.forms.size(first, 1),
            columns=right.columns,
            a=by.first._replace(across=by.block),
            a_pitch=by.pitch,
            a_panel=by.panel,
            d=by.second,
            d_pitch=by.second_pitch,
            to=StridedAddress(target.address, target.pitch, target.panel),
        )
    )
