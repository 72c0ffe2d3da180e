"""The phases of a run, and one piece of each: what is done, whoever does it.

First parameters are brought in, in two phases. Each step has phases of rows and of updates. In the end, parameters are
brought out. All pieces of a phase must be done before the next one begins. Within a phase, pieces do not read what
others write.
"""

from gdkernels_numba.vm.blocks import run_on_blocks
from gdkernels_numba.vm.context import rows_of_piece
from gdkernels_numba.vm.fields import WORD
from gdkernels_numba.vm.instructions import HEADER, TOTALS
from gdkernels_numba.vm.intrinsics import number, set_number, set_word, word
from gdkernels_numba.vm.progress import begin_change, end_change, is_held
from gdkernels_numba.vm.rows import run_on_rows
from gdkernels_numba.vm.tape import CLEAR_PARTS, KEEP_PARTS, note
from gdkernels_numba.vm.thread_context import CONTEXT

__all__ = [
    "LOADING", "add_to_totals", "clear_parts", "context_of", "keep_parts", "phase_in_step", "phase_of_rows",
    "phase_of_shared_update", "phases_of_run", "pieces_of_phase", "run_piece", "run_step", "set_numbers",
]  # fmt: skip

LOADING = 2  # phases, before the first step


def phases_of_step(context: int) -> int:
    return int(word(context, CONTEXT.segments) + word(context, CONTEXT.updates))


def phases_of_run(context: int) -> int:
    """Return how many phases a run has."""
    steps = word(context, CONTEXT.steps) * word(context, CONTEXT.epochs)
    return int(LOADING + steps * phases_of_step(context) + 1)


def phase_in_step(context: int, phase: int) -> int:
    """Return which phase of its step this is, or -1 before and after all steps."""
    inside, of_step = phase - LOADING, phases_of_step(context)
    return int(-1 if inside < 0 or phase == phases_of_run(context) - 1 else inside - inside // of_step * of_step)


def phase_of_rows(context: int, phase: int) -> int:
    """Return 1 if this phase is one of rows, which can be repeated where there are two banks; else 0."""
    inside = phase_in_step(context, phase)
    return 1 if inside // word(context, CONTEXT.segments) == 0 else 0


def phase_of_shared_update(context: int, phase: int) -> int:
    """Return 1 if this phase is an update in which a thread can go on with the piece of another; else 0."""
    later = 1 if phase_in_step(context, phase) >= word(context, CONTEXT.segments) else 0
    return int(later * word(context, CONTEXT.updates_by_thread))


def pieces_of_rows(context: int) -> int:
    return int(word(context, CONTEXT.row_pieces) * word(context, CONTEXT.tiles))


def pieces_of_phase(context: int, phase: int) -> int:
    """Return how many pieces a phase has."""
    rows = phase_of_rows(context, phase)
    return int(pieces_of_rows(context) if rows else word(context, CONTEXT.update_pieces))


def context_of(context: int, bank: int, index: int) -> int:
    """Return another context of the run."""
    return int(word(word(context, CONTEXT.contexts), bank * word(context, CONTEXT.in_bank) + index))


def set_numbers(context: int, step: int, start: int) -> None:
    """Prepare for a step whose batch begins at `start` of the order."""
    set_word(context, CONTEXT.start, start)
    count, scalars = word(context, CONTEXT.scalar_count), word(context, CONTEXT.scalars)
    for k in range(count):
        set_word(word(context, CONTEXT.numbers), k, word(scalars, step * count + k))


def clear_parts(context: int) -> None:
    for k in range(word(context, CONTEXT.partial_count)):
        set_number(word(context, CONTEXT.partials) + WORD * k, 0.0)


def keep_parts(context: int, piece: int) -> None:
    """Leave what a piece of the rows has found of the totals where updates look for it."""
    found = word(context, CONTEXT.found) + piece * word(context, CONTEXT.partial_bytes)
    for k in range(word(context, CONTEXT.partial_count)):
        set_number(found + WORD * k, number(word(context, CONTEXT.partials) + WORD * k))


def run_rows(context: int, piece: int, segment: int, step: int, start: int, batch: int, turn: int) -> None:
    """Do a piece of a phase of rows, in a context that nobody else uses meanwhile."""
    set_numbers(context, step, start)
    set_word(context, CONTEXT.turn, turn)
    tiles, rows_of_tile = word(context, CONTEXT.tiles), word(context, CONTEXT.tile_rows)
    share, whole = rows_of_piece(context, batch), piece if tiles == 1 else piece // tiles
    set_word(context, CONTEXT.gradient_shift, whole * word(context, CONTEXT.gradient_bytes))
    row, stop = min(batch, whole * share), min(batch, whole * share + share)
    if word(context, CONTEXT.all_rows):
        row, stop = 0, batch
    if tiles > 1:
        row = min(stop, row + (piece - whole * tiles) * rows_of_tile)
        stop = min(stop, row + rows_of_tile)
    stream = word(context, CONTEXT.tile)
    if segment == 0:
        clear_parts(context)
        note(context, CLEAR_PARTS, 0, 0, 0)
    else:
        stream = word(context, CONTEXT.resume)
    goes_on, end = 0, 0
    while row < stop:
        rows = min(rows_of_tile, stop - row)
        end = run_on_rows(context, stream, start, row, rows, goes_on)
        row += rows
        goes_on = 1
    if segment < word(context, CONTEXT.segments) - 1:
        set_word(context, CONTEXT.resume, end + WORD * word(end, HEADER.length))
    keep_parts(context, piece)
    note(context, KEEP_PARTS, piece, 0, 0)


def add_to_totals(context: int, ended: int) -> None:
    """Add to the totals of an epoch, and put them where the caller finds them if the epoch has ended."""
    run_on_blocks(context, word(context, CONTEXT.result), 0, 0)
    if ended >= 0:
        totals, results = word(context, CONTEXT.totals), word(context, CONTEXT.results) + ended * TOTALS * WORD
        for k in range(TOTALS):
            set_word(results, k, word(totals, k))
            set_number(totals + WORD * k, 0.0)


def run_update(context: int, piece: int, which: int, step: int, start: int, batch: int, ended: int) -> None:
    """Do a piece of a phase of an update; the first piece also adds to the totals. `ended` is as for `run_in_step`."""
    set_numbers(context, step, start)
    if which == 0:
        clear_parts(context)
        note(context, CLEAR_PARTS, 0, 0, 0)
    share = rows_of_piece(context, batch)
    busy = 1 if share == batch else (batch + share - 1) // share
    stream = word(context, CONTEXT.update + which)
    run_on_blocks(context, stream, batch, busy)
    if piece == 0 and which == word(context, CONTEXT.updates) - 1:
        if word(context, CONTEXT.updates_by_thread) == 0:
            add_to_totals(context, ended)
        elif word(context, CONTEXT.skipped) == 0 and is_held(context) and begin_change(context):
            add_to_totals(context, ended)
            end_change(context)


def run_loading(context: int, phase: int) -> None:
    """Do a piece of what comes before the first step or after the last one."""
    if phase == 0:
        run_on_blocks(context, word(context, CONTEXT.before), 0, 0)
    elif phase < LOADING:
        run_on_blocks(context, word(context, CONTEXT.transposes), 0, 0)
    else:
        run_on_blocks(context, word(context, CONTEXT.after), 0, 0)


def run_in_step(
    context: int, bank: int, inside: int, step: int, start: int, batch: int, ended: int, piece: int, turn: int
) -> None:
    """Do a piece of a phase of a step, as the thread that `context` is.

    The batch begins at `start` of the order. `ended` is the epoch that ends with this step, or -1.
    """
    segments = word(context, CONTEXT.segments)
    if inside < segments:
        index = piece if word(context, CONTEXT.by_piece) else word(context, CONTEXT.thread)
        run_rows(context_of(context, bank, index), piece, inside, step, start, batch, turn)
    else:
        index = word(context, CONTEXT.thread) if word(context, CONTEXT.updates_by_thread) else piece
        run_update(context_of(context, bank, index), piece, inside - segments, step, start, batch, ended)


def run_piece(context: int, phase: int, piece: int, bank: int, turn: int) -> None:
    """Do a piece of a phase, as the thread that `context` is."""
    inside = phase_in_step(context, phase)
    if inside < 0:
        run_loading(context_of(context, bank, piece), phase)
    else:
        step, steps = (phase - LOADING) // phases_of_step(context), word(context, CONTEXT.steps)
        epoch, records, size = step // steps, word(context, CONTEXT.records), word(context, CONTEXT.batch)
        at = (step - epoch * steps) * size
        ended = epoch if step == epoch * steps + steps - 1 else -1
        run_in_step(context, bank, inside, step, epoch * records + at, min(size, records - at), ended, piece, turn)


def run_step(context: int, step: int, start: int, batch: int, ended: int) -> None:
    """Do all of a step, as the only thread of a run."""
    for inside in range(phases_of_step(context)):
        rows = inside < word(context, CONTEXT.segments)
        count = pieces_of_rows(context) if rows else word(context, CONTEXT.update_pieces)
        for piece in range(count):
            run_in_step(context, 0, inside, step, start, batch, ended, piece, 0)
