"""Threads of our own: they sleep between runs, are taken together or not at all, and are made anew after a fork."""

import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue

from gdkernels.errors import BackendError
from gdkernels_numba.cpu.affinity import TakenCores

__all__ = ["OtherThreads", "run_on_threads"]

Job = Callable[[], None]

_MOMENT = 2e-4  # seconds, in which a thread wakes up if a core is free


class _ThreadJob:
    """A job of one run, and whether it is over; `give_up` ends the other jobs of the run without it."""

    def __init__(self, job: Job, give_up: Job, cores: TakenCores) -> None:
        self.job, self.give_up, self.cores = job, give_up, cores
        self.over = False
        self._begins: dict[str, bool] = {}
        self.error: BaseException | None = None
        # No `threading.Event`: an interrupt within its Python code leaves its lock held, and both wait for ever.
        self._told: SimpleQueue[None] = SimpleQueue()

    def begin(self) -> bool:
        """Return whether the job may begin: not if it was spared before."""
        begins = self._begins.setdefault("begins", True)  # one of two threads is first, and asks again as it likes
        self._told.put(None)
        return begins

    def wait_a_while(self, seconds: float) -> None:
        """Wait until it begins or ends, but not for longer."""
        with suppress(Empty):
            self._told.get(timeout=seconds)

    def spare(self) -> None:
        """End it, unless it has begun."""
        if not self._begins.setdefault("begins", False):
            self.over = True

    def end(self) -> None:
        self.over = True
        self._told.put(None)

    def fail(self, error: BaseException) -> None:
        self.error = error
        self.give_up()
        self.end()

    def wait(self) -> None:
        """Wait until it is over; after an interrupt, ask again."""
        while not self.over:
            self._told.get()


class _Worker:
    """A sleeping thread that does one task at a time."""

    def __init__(self) -> None:
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._task: _ThreadJob | None = None
        self.dead = False
        self.thread = threading.Thread(target=self._work, name="gdkernels", daemon=True)
        self.thread.start()

    def _work(self) -> None:
        try:
            while True:
                self._wake.get()
                task = self._task
                if task is not None and not task.over and task.begin():
                    task.cores.take()
                    task.job()
                    task.end()
                task = None  # nor does it keep what that worked on
        except BaseException as error:  # also one raised from outside: or others would wait for ever
            self.dead = True
            if self._task is not None and not self._task.over:
                self._task.fail(error)

    def start(self, task: _ThreadJob) -> None:
        """Do `task`. If the first call may have been missed, call again: the task is done once."""
        self._task = task
        self._wake.put(None)
        if self.dead and not task.over:  # it died before it could see the task
            task.fail(RuntimeError("the thread has ended"))

    def forget(self) -> None:
        """Keep nothing of a task that is over."""
        self._task = None


class _Pool:
    def __init__(self) -> None:
        self.idle: list[_Worker] = []
        self.lock = threading.Lock()

    def take(self, count: int) -> list[_Worker]:
        with self.lock:
            self.idle = [worker for worker in self.idle if not worker.dead]
            while len(self.idle) < count:
                try:
                    self.idle.append(_Worker())
                except RuntimeError as error:  # the system's limit on threads
                    raise BackendError(
                        f"a run cannot start its {count + 1} threads ({error}); set NUMBA_NUM_THREADS to fewer, or "
                        "raise the limit (ulimit -u)"
                    ) from error
            taken, self.idle = self.idle[:count], self.idle[count:]
            return taken

    def put_back(self, workers: list[_Worker]) -> None:
        for worker in workers:
            worker.forget()
        with self.lock:
            self.idle.extend(workers)


_pool = _Pool()


def _forget() -> None:
    """After a fork the threads are gone, and the lock may be held by one of them."""
    _pool.idle, _pool.lock = [], threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


class OtherThreads:
    """Jobs for threads beside this one, each idle or new: a job that waited in a queue for another that waits for it
    would never end.

    Parameters
    ----------
    give_up
        Called if one job cannot be done: the others must then end, whatever they wait for. Jobs that wait for nothing
        do not need it.

    Raises
    ------
    BackendError
        If a thread cannot be started.
    """

    def __init__(self, jobs: Sequence[Job], give_up: Job = lambda: None) -> None:
        self._workers = _pool.take(len(jobs))
        cores = TakenCores()
        self._tasks = [_ThreadJob(job, give_up, cores) for job in jobs]

    def start(self) -> None:
        """Begin all jobs."""
        for worker, task in zip(self._workers, self._tasks, strict=True):
            worker.start(task)

    def let_begin(self) -> None:
        """Wait a moment until they begin.

        A thread that prepares something else in Python meanwhile keeps the interpreter's lock for up to 5 ms, and these
        need it to begin, before they do without.
        """
        for task in self._tasks:
            task.wait_a_while(_MOMENT)

    def rest(self, seconds: float) -> None:
        """Wait until one of them ends, but not for longer."""
        task = next((task for task in self._tasks if not task.over), None)
        if task is not None:
            task.wait_a_while(seconds)

    def spare(self) -> None:
        """End those that have not begun."""
        for task in self._tasks:
            task.spare()

    def check(self) -> None:
        """Raise what `wait` would raise of a job that is over already."""
        for task in self._tasks:
            if task.error is not None:
                raise BackendError(
                    f"a thread of the numba backend ended in the middle of a run ({type(task.error).__name__}: "
                    f"{task.error}); do not use what the run changed; the next run has a new thread"
                ) from task.error

    def wait(self, interrupted: BaseException | None = None) -> None:
        """Wait until all jobs are over.

        Parameters
        ----------
        interrupted
            What has ended the work of this thread; it is raised in the end. All jobs have to end, whatever interrupts:
            none may go on with memory that its caller has given up.

        Raises
        ------
        BackendError
            If a thread has ended before its job was done.
        """
        while True:
            try:
                for worker, task in zip(self._workers, self._tasks, strict=True):
                    if interrupted is not None:
                        worker.start(task)  # it may not have come to that
                    task.wait()
                break
            except KeyboardInterrupt as error:
                interrupted = error
        _pool.put_back([worker for worker in self._workers if not worker.dead])
        if interrupted is not None:
            raise interrupted
        self.check()


def run_on_threads(jobs: Sequence[Job], give_up: Job = lambda: None, *, spare: bool = False) -> None:
    """Run `jobs` at the same time, the first on this thread; they may wait for each other.

    Parameters
    ----------
    give_up
        As for `OtherThreads`.
    spare
        Whether the first job does what is left to do: when it ends, no other begins that has not.

    Raises
    ------
    BackendError
        If a thread cannot be started, or ends before its job is done.
    """
    if len(jobs) == 1:
        jobs[0]()
        return
    others = OtherThreads(jobs[1:], give_up)
    interrupted: BaseException | None = None
    try:
        others.start()
        jobs[0]()
        if spare:
            others.spare()
    except BaseException as error:
        interrupted = error
        give_up()
    others.wait(interrupted)
