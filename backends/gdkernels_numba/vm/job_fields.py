"""What the host and the interpreter share of jobs: their rows, the memory of a thread for them, and their queue."""

from typing import Annotated, NamedTuple

from gdkernels_numba.ir.format import LINE
from gdkernels_numba.vm.fields import WORD, offsets_of

__all__ = [
    "DRAWER", "DRAWING", "JOB", "JOB_TAKER", "ORDERER", "PATCH", "POOL", "QUEUE", "SLOTS", "WORKER", "WORKSPACE",
    "DrawingRecord", "JobRow", "WorkerRecord",
]  # fmt: skip

# What the compiled functions are called.
JOB_TAKER, ORDERER, DRAWER = "gdkernels_job_taker", "gdkernels_orderer", "gdkernels_drawer"
POOL = 4  # numbers that a seed is mixed into; one that is shorter ends in zeros
SLOTS = 64  # jobs that are in the queue at a time, those that run included


class JobRow(NamedTuple):
    """A job: what differs between runs, then the addresses of the caller's arrays."""

    shape: Annotated[int, "which of a thread's workspaces it runs in"]
    order: Annotated[int, "as in `ThreadContext`"]
    records: Annotated[int, "as in `ThreadContext`"]
    steps: Annotated[int, "as in `ThreadContext`"]
    scalars: Annotated[int, "as in `ThreadContext`"]
    epochs: Annotated[int, "as in `ThreadContext`"]
    results: Annotated[int, "as in `ThreadContext`"]
    drawing: Annotated[int, "where the `DrawingRecord` is by which its orders are drawn, or 0: they are there"]
    done: Annotated[int, "1 when it is done"] = 0
    nanoseconds: Annotated[int, "how long it took; 0 where the system has no clock for that"] = 0
    clock: Annotated[int, "room to read the clock"] = 0
    more_clock: Annotated[int, "more of it"] = 0


class DrawingRecord(NamedTuple):
    """The orders of some epochs, which are to be drawn."""

    orders: Annotated[int, "where they go"]
    records: Annotated[int, "the numbers of an order"]
    epochs: Annotated[int, "how many orders there are"]
    epoch: Annotated[int, "the number of the first epoch"]
    entropy: Annotated[int, "where the numbers of 32 bits are by which an epoch is seeded, at least `POOL` of them"]
    entropy_count: Annotated[int, "how many of them there are"]
    epoch_at: Annotated[int, "which of them is that of the epoch"]
    room: Annotated[int, "where `POOL` words are for a pool, and then four for a generator"]


class WorkspaceRecord(NamedTuple):
    """A copy of a bound step, with memory and streams of its own."""

    contexts: Annotated[int, "where the addresses of its contexts are"]
    context_count: Annotated[int, "how many of them there are"]
    patches: Annotated[int, "where the `PatchRecord`s are"]
    patch_count: Annotated[int, "how many of them there are"]


class PatchRecord(NamedTuple):
    """A word of a stream that is an address in an array of the caller's."""

    where: Annotated[int, "the address of the word"]
    array: Annotated[int, "which array, in the order of a job's row"]
    offset: Annotated[int, "the bytes from the beginning of the array"]


class QueueWords(NamedTuple):
    """The offsets, in bytes, of the words of a queue; those that change often have lines for themselves."""

    taken: int
    published: int
    ended: int
    slots: int


class WorkerRecord(NamedTuple):
    """A thread that takes jobs."""

    queue: Annotated[int, "where the `QueueWords` are"]
    workspaces: Annotated[int, "where the addresses of its `WorkspaceRecord`s are, by the shape"]
    most: Annotated[int, "how many jobs it does"]
    waits: Annotated[int, "1 if it waits for further jobs until the queue has ended, else 0"]


DRAWING = offsets_of(DrawingRecord)
JOB = offsets_of(JobRow)
WORKSPACE = offsets_of(WorkspaceRecord)
PATCH = offsets_of(PatchRecord)
WORKER = offsets_of(WorkerRecord)
# How many jobs are taken; how many there are so far; whether there will be no others; then the rows of the jobs, each
# in the slot that its number has modulo `SLOTS`.
QUEUE = QueueWords(taken=0, published=2 * LINE, ended=4 * LINE, slots=4 * LINE + WORD)
