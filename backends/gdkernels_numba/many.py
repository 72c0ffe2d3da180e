"""Many runs at a time: threads take them from a queue, each in memory of its own, while others are prepared."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.backend import Job
from gdkernels_numba.bytecode.bound_step import BoundStep
from gdkernels_numba.bytecode.prepared_run import PreparedRun
from gdkernels_numba.bytecode.workspace import Workspace
from gdkernels_numba.cpu.addresses import address_of
from gdkernels_numba.cpu.threads import OtherThreads
from gdkernels_numba.ir.format import LINE
from gdkernels_numba.vm.fields import WORD
from gdkernels_numba.vm.instructions import TOTALS
from gdkernels_numba.vm.job_fields import JOB, QUEUE, SLOTS, JobRow, WorkerRecord

__all__ = ["run_jobs"]

Totals = list[tuple[float, float | None]]

_SHAPES = 16  # whose workspaces are kept, one for each thread
_A_WHILE = 1e-4  # seconds until it is asked again whether a job is done
_MANY = 1 << 62


def run_jobs(jobs: Iterable[Job], threads: int, prepare: Callable[[Job], PreparedRun | None]) -> Iterator[Totals]:
    """Yield what each job returns, in their order.

    Parameters
    ----------
    threads
        The most jobs that run at the same time.
    prepare
        A function that returns a job ready to run; None if its executable has to run it, on this thread.
    """
    queue = _Queue(threads)
    interrupted: BaseException | None = None
    try:
        for job in jobs:
            prepared = prepare(job)
            if prepared is None or not prepared.bound.is_of_one_thread:
                queue.add_done(job.run())
            else:
                queue.add(job, prepared)
            while queue.has_enough:
                queue.work()
            yield from queue.finished()
        queue.expect_no_more()
        while queue.unfinished:
            queue.work()
            yield from queue.finished()
    except BaseException as error:  # an end that the caller asks for is one too
        interrupted = error
    queue.end(interrupted)


@dataclass
class _Waiting:
    """A job that is in the queue, with all that the row of it leads to."""

    job: Job
    prepared: PreparedRun
    row: npt.NDArray[np.int64]
    results: npt.NDArray[np.float64]
    kept: tuple[Any, ...]
    published: float

    def end(self) -> Totals:
        """Tell the job how long it took, and return what it returns."""
        self.prepared.bound.kernels.order_memory()  # what was written before it was done
        seconds = 1e-9 * int(self.row[JOB.nanoseconds])
        self.job.seconds = seconds or time.perf_counter() - self.published
        return self.prepared.ended(self.results)

    @property
    def is_done(self) -> bool:
        return bool(self.row[JOB.done])


class _Queue:
    """Jobs that are published one by one, and the threads that take them: this one whenever it has nothing else to do.

    Parameters
    ----------
    threads
        How many there are, this one included.
    """

    def __init__(self, threads: int) -> None:
        self._words = _in_lines(QUEUE.slots // WORD + SLOTS)
        self._published = 0
        self._jobs: deque[_Waiting | Totals] = deque()  # what was not yielded
        self._begun: deque[_Waiting] = deque()  # of these, those that may not be done
        self._shapes: dict[int, tuple[int, BoundStep]] = {}
        self._at = np.zeros((threads, _SHAPES), np.int64)  # the workspaces of each thread
        self._workspaces: list[tuple[BoundStep, Workspace]] = []
        self._most_ahead = 2 * threads - 1
        records = [
            WorkerRecord(self._words.ctypes.data, int(at.ctypes.data), _MANY if k else 1, int(k > 0))
            for k, at in enumerate(self._at)
        ]
        self._records = np.array(records, np.int64)
        self._others: OtherThreads | None = None
        self._job_taker: Any = None

    @property
    def unfinished(self) -> bool:
        """Whether there are jobs that were not yielded."""
        return bool(self._jobs)

    @property
    def has_enough(self) -> bool:
        """Whether the other threads have enough to do until this one has done a job."""
        while self._begun and self._begun[0].is_done:
            self._begun.popleft()
        ahead = self._published - int(self._words[QUEUE.taken // WORD])
        return ahead >= self._most_ahead or len(self._begun) >= SLOTS

    def add_done(self, totals: Totals) -> None:
        """Add a job that is done."""
        self._jobs.append(totals)

    def add(self, job: Job, prepared: PreparedRun) -> None:
        """Publish a job."""
        bound = prepared.bound
        shape = self._shape(bound)
        epochs, steps = prepared.times
        numbers = bound.numbers(prepared.scalars, epochs * steps)
        results = np.zeros((epochs, TOTALS))
        arrays = bound.arrays_in_order(prepared.arrays)
        orders = prepared.orders
        row = JobRow(
            shape=shape,
            order=address_of(orders.numbers),
            records=prepared.records,
            steps=steps,
            scalars=0 if numbers is None else address_of(numbers),
            epochs=epochs,
            results=address_of(results),
            drawing=0 if orders.drawing is None else address_of(orders.drawing),
        )
        words = np.array([*row, *map(address_of, arrays)], np.int64)
        waiting = _Waiting(job, prepared, words, results, (numbers, arrays, orders), time.perf_counter())
        self._jobs.append(waiting)
        self._begun.append(waiting)
        self._words[QUEUE.slots // WORD + self._published % SLOTS] = address_of(words)
        self._published += 1
        bound.kernels.order_memory()  # who sees the number sees the job
        self._words[QUEUE.published // WORD] = self._published
        if self._others is None:
            self._start(bound)

    def expect_no_more(self) -> None:
        """Let each thread end that finds no job, so that nobody waits for one that sleeps."""
        self._words[QUEUE.ended // WORD] = 1

    def _start(self, bound: BoundStep) -> None:
        self._job_taker = bound.kernels.job_taker
        jobs = [partial(self._job_taker, int(record.ctypes.data)) for record in self._records[1:]]
        self._others = OtherThreads(jobs, self._close)
        self._others.start()
        self._others.let_begin()

    def _shape(self, bound: BoundStep) -> int:
        """Return the number of a bound step, of which each thread has a copy."""
        found = self._shapes.get(id(bound))
        if found is None:
            if len(self._shapes) == _SHAPES:
                self._drain()
                self._give_back()
            found = self._shapes[id(bound)] = len(self._shapes), bound
            for at in self._at:
                workspace = bound.take_workspace()
                self._workspaces.append((bound, workspace))
                at[found[0]] = workspace.address
        return found[0]

    def _give_back(self) -> None:
        for bound, workspace in self._workspaces:
            bound.give_workspace(workspace)
        self._shapes, self._workspaces = {}, []

    def work(self) -> None:
        """Do one of the jobs, or wait a while if all are taken."""
        before = int(self._words[QUEUE.taken // WORD])
        if before < self._published:
            self._job_taker(int(self._records[0].ctypes.data))
        elif self._begun and not self._begun[0].is_done:
            if self._others is None:
                time.sleep(_A_WHILE)
            else:
                self._others.rest(_A_WHILE)
                self._others.check()

    def _drain(self) -> None:
        while not all(one.is_done for one in self._begun):
            self.work()

    def finished(self) -> Iterator[Totals]:
        """Yield what the jobs return that are done, up to the first that is not."""
        while self._jobs:
            first = self._jobs[0]
            if isinstance(first, _Waiting):
                if not first.is_done:
                    return
                totals = first.end()
            else:
                totals = first
            self._jobs.popleft()
            yield totals

    def end(self, interrupted: BaseException | None) -> None:
        """Let the other threads end; jobs that nobody has begun are not done.

        Raises
        ------
        BaseException
            What has interrupted.
        """
        self._close()
        try:
            if self._others is not None:
                self._others.wait(interrupted)
        finally:
            self._jobs.clear()
            self._begun.clear()
        if interrupted is not None:
            raise interrupted
        self._give_back()  # after an error, a thread may have left in the middle of a job

    def _close(self) -> None:
        self._words[QUEUE.taken // WORD] = max(self._published, int(self._words[QUEUE.taken // WORD]))
        self.expect_no_more()


def _in_lines(words: int) -> npt.NDArray[np.int64]:
    """Return zeros that begin with a line of the cache, or two."""
    memory = np.zeros(words + 2 * LINE // WORD, np.int64)
    first = -memory.ctypes.data % (2 * LINE) // WORD
    return memory[first : first + words]
