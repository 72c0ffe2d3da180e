"""Sums over the batch: blocks of gradients, and totals, leaf by leaf in the tree of `gdkernels.groups.tree`.

The first sum of a block is where its gradient belongs, and others wait in memory of the context until they are merged.
"""

from gdkernels.groups.tree import merges_after
from gdkernels_numba.ir.format import LINE, PANEL_BYTES
from gdkernels_numba.vm.context import address, operand, row_of_piece, rows_of_piece, terms, terms_at_once, vectors
from gdkernels_numba.vm.fields import WORD
from gdkernels_numba.vm.instructions import STRIP, SUM_COLUMNS, SUM_GRADIENT, SUM_OVER_PIECES
from gdkernels_numba.vm.intrinsics import number, set_number, word
from gdkernels_numba.vm.tape import issue
from gdkernels_numba.vm.thread_context import CONTEXT

__all__ = ["run_column_sums", "run_gradient", "run_sum"]


def place_of_sum(context: int, waiting: int, to: int) -> int:
    """Return where the next sum of a block goes, if so many wait."""
    block = word(context, CONTEXT.panel) * PANEL_BYTES + LINE
    return int(to if waiting == 0 else word(context, CONTEXT.sum_blocks) + (waiting - 1) * block)


def merge_sums(context: int, waiting: int, merges: int, to: int, rows: int, count: int, pitch: int) -> int:
    """Merge the last two sums of a block so many times; returns how many wait then."""
    for _ in range(merges):
        waiting -= 1
        left, right = place_of_sum(context, waiting - 1, to), place_of_sum(context, waiting, to)
        issue(context, word(context, CONTEXT.add), (rows, count, right, left, pitch))
    return int(waiting)


def sum_terms(
    context: int, i: int, down: int, across: int, rows: int, count: int, first: int, stop: int, depth: int, to: int,
    to_pitch: int, goes_on: int,
) -> None:  # fmt: skip
    """Sum up the terms from `first` to `stop` of a block of the gradient of weights, which has `depth` in all."""
    at = SUM_GRADIENT.at
    chunk, rest = word(context, CONTEXT.sums_depth), 1
    if word(context, CONTEXT.leaves) > 1:  # pieces of a leaf, which has no more than one tile if it is summed by piece
        chunk = max(1, stop - first if word(context, CONTEXT.sums_by_piece) else min(chunk, stop - first))
    elif word(context, CONTEXT.sums_by_piece):
        chunk, rest = rows_of_piece(context, depth), 0
    kernel, a_pitch, a_panel, a_term = word(i, at.kernel), word(i, at.a_pitch), word(i, at.a_panel), word(i, at.a_term)
    d_pitch, written = word(i, at.d_pitch), word(i, at.operands)
    a, d = address(i, at.a, down, across) + first * a_term, address(i, at.d, down, across) + first * d_pitch
    # Of a block on the diagonal of a symmetric matrix, rows end with the diagonal.
    strip, high = word(i, at.strip), rows
    if strip and down == across:
        high = STRIP
    k, going = first, 1
    while going:
        here = terms_at_once(chunk, stop - k) if rest else min(chunk, stop - k)
        chunks_left = (depth - k - here + chunk - 1) // chunk
        soon = 0
        if chunks_left < written:
            soon = operand(i + WORD * SUM_GRADIENT.size, chunks_left, down, across)
        row, left, target = 0, a, to
        while row < rows:
            some, wide = min(high, rows - row), count
            if high < rows:
                wide = min(count, vectors(context, row + some))
            given = (some, here, wide, left, a_pitch, a_panel, d, d_pitch, target, to_pitch, goes_on, soon)
            issue(context, kernel, given)
            row += high
            left += strip
            target += high * to_pitch
        a += here * a_term
        d += here * d_pitch
        k += here
        goes_on, going = 1, 1 if k < stop else 0


def run_gradient(context: int, i: int, down: int, across: int, rows: int, columns: int, batch: int) -> None:
    """Compute a block of the gradient of a weight matrix from the whole batch, or its transpose first."""
    at = SUM_GRADIENT.at
    to, pitch, room = address(i, at.to, down, across), word(i, at.to_pitch), word(i, at.room)
    high, count = rows, vectors(context, columns)
    if room:
        to, pitch, high, count = room, word(i, at.d_pitch), columns, vectors(context, rows)
    leaves, depth, by_piece = word(context, CONTEXT.leaves), terms(context, batch), word(context, CONTEXT.sums_by_piece)
    if leaves == 1:
        sum_terms(context, i, down, across, high, count, 0, depth, depth, to, pitch, 0)
    else:
        chunk, waiting, first = word(context, CONTEXT.sums_depth), 0, 0
        for leaf in range(leaves):
            stop = row_of_piece(context, leaf + 1, batch)
            # A sum that is made at once is added to its left sibling at once.
            joins = leaf & 1 if by_piece or stop - first <= terms_at_once(chunk, stop - first) else 0
            target = place_of_sum(context, waiting - joins, to)
            sum_terms(context, i, down, across, high, count, first, stop, depth, target, pitch, joins)
            first, waiting = stop, waiting + 1 - joins
            merges = waiting - 1 if leaf == leaves - 1 else merges_after(leaf) - joins
            waiting = merge_sums(context, waiting, merges, to, high, count, pitch)
    if room:
        to = address(i, at.to, down, across)
        issue(context, word(i, at.transpose), (columns, rows, room, pitch, to, word(i, at.to_pitch)))


def run_column_sums(context: int, i: int, across: int, count: int, batch: int) -> None:
    """Compute a block of the gradient of a bias from the whole batch."""
    at, leaves = SUM_COLUMNS.at, word(context, CONTEXT.leaves)
    kernel, d_pitch = word(i, at.kernel), word(i, at.d_pitch)
    d, to = address(i, at.d, 0, across), address(i, at.to, 0, across)
    if leaves == 1:
        row, chunk = 0, batch
        if word(context, CONTEXT.sums_by_piece):
            chunk = rows_of_piece(context, batch)
        while row < batch:
            issue(context, kernel, (min(chunk, batch - row), count, d + row * d_pitch, d_pitch, to, row))
            row += chunk
        return
    waiting, first = 0, 0
    for leaf in range(leaves):
        stop, joins = row_of_piece(context, leaf + 1, batch), leaf & 1
        target = place_of_sum(context, waiting - joins, to)
        issue(context, kernel, (stop - first, count, d + first * d_pitch, d_pitch, target, joins))
        first, waiting = stop, waiting + 1 - joins
        merges = waiting - 1 if leaf == leaves - 1 else merges_after(leaf) - joins
        waiting = merge_sums(context, waiting, merges, to, 1, count, 0)


def run_sum(context: int, i: int) -> None:
    """Add up the parts of a total: those of a piece one after the other, and then the sums of the pieces."""
    at, total, waiting = SUM_OVER_PIECES.at, 0.0, 0
    part, part_bytes, sums = word(i, at.source), word(context, CONTEXT.partial_bytes), word(i, at.sums)
    first = word(context, CONTEXT.sum_numbers)
    for leaf in range(sums):
        inner = 0.0
        for _part in range(word(i, at.parts)):
            inner += number(part)
            part += part_bytes
        if word(context, CONTEXT.tree_sums) == 0:
            total += inner
        else:
            merges = waiting if leaf == sums - 1 else merges_after(leaf)
            for _ in range(merges):
                waiting -= 1
                inner = number(first + WORD * waiting) + inner
            set_number(first + WORD * waiting, inner)
            waiting += 1
            total = inner
    set_number(word(i, at.target), total)
