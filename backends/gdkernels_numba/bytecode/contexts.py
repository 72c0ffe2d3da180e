"""The context of a thread: everything that its interpreter is given, as words."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from gdkernels_numba.bytecode.stream import InstructionStream
from gdkernels_numba.bytecode.writer import InstructionWriter
from gdkernels_numba.ir.format import GRANULE, LINE
from gdkernels_numba.plan import GRAIN, StepChoices
from gdkernels_numba.vm.fields import WORD
from gdkernels_numba.vm.thread_context import ThreadContext

__all__ = ["context_of"]


def context_of(
    writer: InstructionWriter,
    choices: StepChoices,
    at: Callable[[InstructionStream], int],
    *,
    contexts: int,
    bank: int,
    banks: int,
    barriers: int,
) -> npt.NDArray[np.int64]:
    """Return the words of a context, in cache lines of its own.

    Parameters
    ----------
    at
        Returns the address of a stream.
    contexts
        The address of the addresses of all contexts.
    bank, banks
        The number of the bank whose memory it works in, and how many there are.
    barriers
        How often the pieces of the rows wait for each other; all do alike.
    """
    layout, form, number = writer.layout, writer.format, writer.number
    shift, cut_in_rows = bank * layout.shift, choices.tree_sums and not form.bf16
    updates = [*(at(t) for t in writer.phases), 0, 0, 0, 0, 0]
    context = ThreadContext(
        thread=number,
        threads=choices.threads,
        contexts=contexts,
        in_bank=layout.contexts,
        banks=banks,
        turns=layout.turns,
        claims=layout.turns + layout.claims,
        watched=layout.turns if banks > 1 else layout.zeros,
        float_state=writer.kernels.address["float_state"],
        saved_state=layout.saved_state[number] if number < choices.threads else 0,
        panel=form.panel,
        lanes_log2=form.lanes.bit_length() - 1,
        product_depth=choices.product_depth,
        product_panels=choices.product_depth // form.left_panel,
        sums_depth=choices.sums_depth,
        sums_by_piece=int(choices.sums_by_piece),
        bf16=int(form.bf16),
        batch=layout.sizes["B"],
        tile_rows=choices.tile_rows,
        grain=1 if cut_in_rows else GRANULE if form.bf16 and not choices.tile_local_gradients else GRAIN,
        tree_sums=int(choices.tree_sums),
        leaves=layout.leaves,
        all_leaves=choices.pieces,
        sum_blocks=layout.sum_blocks[min(number, len(layout.sum_blocks) - 1)],
        sum_numbers=layout.sum_numbers[number],
        add=writer.kernel("add"),
        clears=int(choices.tree_sums and layout.gradients.are_private),
        all_rows=int(choices.column_parallel),
        row_pieces=choices.pieces,
        tiles=layout.tiles,
        by_piece=int(layout.by_piece),
        updates_by_thread=int(layout.updates_by_thread),
        segments=1 + barriers,
        update_pieces=layout.update_pieces,
        updates=len(writer.phases),
        operands=layout.operand_base[number] + shift,
        scalar_count=len(layout.numbers.scalars),
        numbers=layout.numbers.base[number] + shift,
        partials=layout.numbers.part_base + number * layout.numbers.part_bytes + shift,
        partial_bytes=layout.numbers.part_bytes,
        partial_count=len(layout.numbers.totals),
        found=layout.numbers.found + shift,
        gradient_bytes=layout.gradient_bytes,
        before=at(writer.before),
        transposes=at(writer.transposes),
        tile=at(writer.tile),
        update=updates[0],
        second_update=updates[1],
        third_update=updates[2],
        fourth_update=updates[3],
        fifth_update=updates[4],
        result=at(writer.result),
        after=at(writer.after),
        tape=layout.tape,
        totals=layout.results,
    )
    return np.array([*context, *[0] * (-len(context) % (2 * LINE // WORD))], np.int64)  # each in lines of its own
