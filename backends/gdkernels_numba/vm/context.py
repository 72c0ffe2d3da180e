"""The tools of the interpreter: reading words and addresses, and counting rows, vectors and terms."""

from gdkernels.groups.tree import first_row
from gdkernels_numba.vm.fields import STRIDED, WORD, StridedAddress
from gdkernels_numba.vm.intrinsics import set_word, word
from gdkernels_numba.vm.thread_context import CONTEXT

__all__ = ["address", "operand", "row_of_piece", "rows_of_piece", "set_operands", "terms", "terms_at_once", "vectors"]


def address(at: int, field: StridedAddress, down: int, across: int) -> int:
    """Return where the strided address in the words at `field` leads, so far `down` and `across`."""
    return int(word(at, field.base) + down * word(at, field.down) + across * word(at, field.across))


def operand(operands: int, k: int, down: int, across: int) -> int:
    """Return where the strided address number `k` of those at `operands` leads."""
    return address(operands + k * WORD * len(STRIDED), STRIDED, down, across)


def set_operands(context: int, operands: int, count: int, down: int, across: int) -> int:
    """Write where the `count` strided addresses at `operands` lead, for a loop to find; returns where that is."""
    found = word(context, CONTEXT.operands)
    for k in range(count):
        set_word(found, k, operand(operands, k, down, across))
    return int(found)


def vectors(context: int, columns: int) -> int:
    """Return how many registers hold so many numbers."""
    log2 = word(context, CONTEXT.lanes_log2)
    return int((columns + (1 << log2) - 1) >> log2)


def terms(context: int, rows: int) -> int:
    """Return how many terms of a sum over the batch these rows make."""
    bf16 = word(context, CONTEXT.bf16)
    return int((rows + bf16) >> bf16)


def terms_at_once(chunk: int, left: int) -> int:
    """Return how many of the terms that are left to sum in registers; a small rest goes with the last chunk."""
    return int(left if left <= chunk + (chunk >> 2) else chunk)


def row_of_piece(context: int, piece: int, batch: int) -> int:
    """Return the row of a batch with which a piece begins."""
    if word(context, CONTEXT.tree_sums) == 0:
        return int(min(batch, piece * rows_of_piece(context, batch)))
    leaves, grain = word(context, CONTEXT.all_leaves), word(context, CONTEXT.grain)
    if grain > 1:
        return int(min(batch, grain * first_row(piece, leaves, (batch + grain - 1) // grain)))
    if leaves == word(context, CONTEXT.row_pieces):
        return int(first_row(piece, leaves, batch))
    first, rows = word(context, CONTEXT.first_leaf), word(context, CONTEXT.rows_of_batch)  # of which this is a shard
    return int(first_row(first + piece, leaves, rows) - first_row(first, leaves, rows))


def rows_of_piece(context: int, batch: int) -> int:
    """Return how many rows the first piece of a batch has in plans of old, and all others but the last."""
    if word(context, CONTEXT.all_rows) or word(context, CONTEXT.row_pieces) == 1:
        return batch
    grain, pieces = word(context, CONTEXT.grain), word(context, CONTEXT.row_pieces)
    share = (batch + pieces - 1) // pieces
    return int((share + grain - 1) // grain * grain)
