"""The copies of weights that products read, besides their own place: transposes, and forms in bfloat16."""

from gdkernels_numba.bytecode.layout import StepLayout
from gdkernels_numba.bytecode.packed import NOWHERE, PackedOperands
from gdkernels_numba.bytecode.stream import InstructionStream
from gdkernels_numba.bytecode.writer import InstructionWriter
from gdkernels_numba.vm.block_instructions import (
    PackBlock,
    TransposeBlock,
)
from gdkernels_numba.vm.fields import StridedAddress

__all__ = ["forms_of_blocks", "transpose_of_blocks", "write_copies"]


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
            target=transpose_of_blocks(layout, name),
            target_pitch=target.pitch,
        )
    )


def transpose_of_blocks(layout: StepLayout, name: str) -> StridedAddress:
    """Return where the blocks of the transpose are that belong to those of some weights."""
    target = layout.transposes[name]
    down, across = layout.in_blocks(target)[1:]
    return StridedAddress(target.address, across, down)


def _write_forms(
    writer: InstructionWriter, stream: InstructionStream, name: str, packed: PackedOperands, column: int
) -> None:
    layout = writer.layout
    source = layout.parameters[name]
    to_right, to_back = forms_of_blocks(layout, name, packed, column)
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


def forms_of_blocks(
    layout: StepLayout, name: str, packed: PackedOperands, column: int
) -> tuple[StridedAddress, StridedAddress]:
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
