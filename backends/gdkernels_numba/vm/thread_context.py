"""The context of a thread or a piece: what the interpreter is given beside the streams, declared once."""

from typing import Annotated, NamedTuple

from gdkernels_numba.vm.fields import offsets_of

__all__ = ["CONTEXT", "ThreadContext"]


class ThreadContext(NamedTuple):
    """A context: the places of streams and of the memory that they use, and the cut of a run."""

    thread: Annotated[int, "the thread that a run with this context is"]
    threads: Annotated[int, "how many threads there are"]
    contexts: Annotated[int, "where the addresses of all contexts are, those of the second bank after the first's"]
    in_bank: Annotated[int, "how many contexts a bank has"]
    banks: Annotated[int, "2 if what a phase of rows writes is there twice, so that another thread can repeat it"]
    turns: Annotated[int, "where `TURN_WORDS` are, then those of each thread, then the claims"]
    claims: Annotated[int, "where the claims are"]
    watched: Annotated[int, "where the turn is, or 0: this phase of rows is over when it is another than `turn`"]
    float_state: Annotated[int, "the kernel that flushes denormals, and configures tiles of AMX, or undoes that"]
    saved_state: Annotated[int, "where it keeps what it found"]
    panel: Annotated[int, "columns of a panel, and rows of a block"]
    lanes_log2: Annotated[int, "the logarithm of how many numbers a vector register holds"]
    product_depth: Annotated[int, "terms that a product sums in registers at a time"]
    product_panels: Annotated[int, "panels of the left operand that those are"]
    sums_depth: Annotated[int, "terms that a gradient sums in registers at a time, along the batch"]
    sums_by_piece: Annotated[int, "1 if it sums the rows of a piece at a time instead, else 0"]
    bf16: Annotated[int, "1 if a term of a sum is a pair of bfloat16 numbers, else 0"]
    batch: Annotated[int, "rows of a full batch"]
    tile_rows: Annotated[int, "rows of a full tile"]
    grain: Annotated[int, "a batch is cut into multiples of so many rows"]
    all_rows: Annotated[int, "1 if every piece is some columns of all rows of the batch, else 0"]
    row_pieces: Annotated[int, "into how many pieces a batch is cut"]
    tiles: Annotated[int, "how many tiles of a piece are claimed one by one; 1 if a piece is claimed whole"]
    by_piece: Annotated[int, "1 if each piece of the rows has its own context, 0 if each thread has"]
    updates_by_thread: Annotated[int, "1 if updates use the context of the thread, so that others can go on; else 0"]
    segments: Annotated[int, "how many phases of rows a step has: one more than `Barrier`"]
    update_pieces: Annotated[int, "into how many pieces an update is cut, and what comes before and after a run"]
    updates: Annotated[int, "how many phases of updates a step has"]
    operands: Annotated[int, "where the addresses are put that a loop runs on"]
    scalar_count: Annotated[int, "how many numbers differ from step to step"]
    numbers: Annotated[int, "this context's single numbers; those that differ from step to step come first"]
    partials: Annotated[int, "this context's parts of the totals"]
    partial_bytes: Annotated[int, "bytes to the next one's"]
    partial_count: Annotated[int, "how many totals there are"]
    found: Annotated[int, "the parts of the totals that the first piece of the rows has found"]
    gradient_bytes: Annotated[int, "bytes from a piece's gradients to those of the next"]
    before: Annotated[int, "the stream that is run once, before all others"]
    transposes: Annotated[int, "the stream that is run once when that is done"]
    tile: Annotated[int, "the stream that is run on every tile"]
    update: Annotated[int, "the stream that is run on every batch when all its rows are done"]
    second_update: Annotated[int, "the stream that is run when that is done, or 0; so are the next ones"]
    third_update: Annotated[int, "as before"]
    fourth_update: Annotated[int, "as before"]
    fifth_update: Annotated[int, "as before"]
    result: Annotated[int, "the stream that the first piece of the last update runs once, in the end"]
    after: Annotated[int, "the stream that is run once, in the end"]
    tape: Annotated[int, "where a thread that is alone notes the calls of a step"]
    totals: Annotated[int, "the sums of E and of the gradient's norm over the steps of an epoch"]
    order: Annotated[int, "the numbers of the rows to use, or 0 for all in turn; set for every run"] = 0
    records: Annotated[int, "how many rows are used; set for every run"] = 0
    steps: Annotated[int, "how many steps are done; set for every run"] = 0
    scalars: Annotated[int, "for each step, the numbers that differ from step to step; set for every run"] = 0
    epochs: Annotated[int, "how often so many rows are used, each time by the next numbers; set for every run"] = 1
    results: Annotated[int, "where the totals of each epoch go; set for every run"] = 0
    start: Annotated[int, "the place in the order where the batch begins; set for every step"] = 0
    gradient_shift: Annotated[int, "bytes from the first piece's gradients to this one's; set for every piece"] = 0
    turn: Annotated[int, "the turn in which this phase of rows runs; set for every piece"] = 0
    piece: Annotated[int, "the piece of an update; set for every piece"] = 0
    progress: Annotated[int, "where it is told how far the piece has come; set for every piece"] = 0
    holding: Annotated[int, "what is told there while this thread has the piece, or -1; set by every block"] = 0
    skipped: Annotated[int, "how many of its blocks another thread has changed; set for every piece"] = 0
    resume: Annotated[int, "where the next segment of the tile begins; set by every one"] = 0


CONTEXT = offsets_of(ThreadContext)
