"""Many runs, each of a model of its own: a thread takes one after the other, and does it alone in its own memory.

Jobs are published while others run. Nothing of what a thread reads or writes in a job is another thread's.
"""

from gdkernels_numba.vm.fields import WORD
from gdkernels_numba.vm.intrinsics import (
    exchange,
    fence,
    load_atomic,
    nanoseconds,
    pause,
    rest,
    set_word,
    store_atomic,
    word,
)
from gdkernels_numba.vm.job_fields import JOB, PATCH, QUEUE, SLOTS, WORKER, WORKSPACE
from gdkernels_numba.vm.orders import draw_orders
from gdkernels_numba.vm.run import interpret
from gdkernels_numba.vm.thread_context import CONTEXT

__all__ = ["order_memory", "take_jobs"]

_PATCH_BYTES = WORD * len(PATCH)
_ARRAYS = len(JOB)  # the word of a row where the addresses of the arrays begin
_SPINS = 2_000  # some 50 µs; then the core is left to others
_PAUSE = 200  # microseconds for which a thread then sleeps


def claim_job(queue: int) -> int:
    """Return the number of a job that is now this thread's, or -1 where there is none."""
    found = -1
    taken = load_atomic(queue + QUEUE.taken)
    while found < 0 and taken < load_atomic(queue + QUEUE.published):
        if exchange(queue + QUEUE.taken, taken, taken + 1):
            found = taken
        taken = load_atomic(queue + QUEUE.taken)
    return int(found)


def do_job(workspace: int, row: int) -> None:
    """Do a job in the memory that a thread has for its shape."""
    if word(row, JOB.drawing):
        draw_orders(word(row, JOB.drawing))
    patch = word(workspace, WORKSPACE.patches)
    for _ in range(word(workspace, WORKSPACE.patch_count)):
        address = word(row, _ARRAYS + word(patch, PATCH.array)) + word(patch, PATCH.offset)
        set_word(word(patch, PATCH.where), 0, address)
        patch += _PATCH_BYTES
    contexts = word(workspace, WORKSPACE.contexts)
    for k in range(word(workspace, WORKSPACE.context_count)):
        context = word(contexts, k)
        set_word(context, CONTEXT.order, word(row, JOB.order))
        set_word(context, CONTEXT.records, word(row, JOB.records))
        set_word(context, CONTEXT.steps, word(row, JOB.steps))
        set_word(context, CONTEXT.scalars, word(row, JOB.scalars))
        set_word(context, CONTEXT.epochs, word(row, JOB.epochs))
        set_word(context, CONTEXT.results, word(row, JOB.results))
    interpret(word(contexts, 0))


def take_jobs(worker: int) -> None:
    """Do jobs as one of the threads that share a queue."""
    queue, left, waits = word(worker, WORKER.queue), word(worker, WORKER.most), word(worker, WORKER.waits)
    spins = 0
    while left > 0:
        ended = load_atomic(queue + QUEUE.ended)  # before it is asked for a job, or the last one may be missed
        number = claim_job(queue)
        if number >= 0:
            row = word(queue + QUEUE.slots, number - number // SLOTS * SLOTS)
            clock = row + WORD * JOB.clock
            began = nanoseconds(clock)
            do_job(word(word(worker, WORKER.workspaces), word(row, JOB.shape)), row)
            set_word(row, JOB.nanoseconds, nanoseconds(clock) - began)
            store_atomic(row + WORD * JOB.done, 1)
            left -= 1
            spins = 0
        elif ended or waits == 0:
            left = 0
        elif spins < _SPINS:
            spins += 1
            pause()
        else:
            rest(_PAUSE)


def order_memory() -> None:
    """Let the host publish what it has written, and read what was published, for it reads and writes words plainly.

    Processors such as Arm's show what a thread writes to another in any order, unless somebody asks for one.
    """
    fence()
