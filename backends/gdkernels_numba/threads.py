"""Threads of our own: they sleep between runs, are taken together or not at all, and are made anew after a fork."""

import os
import threading
from collections.abc import Callable

__all__ = ["run_on_threads"]


class _Worker:
    """A sleeping thread that does one job at a time."""

    def __init__(self) -> None:
        self._wake, self._done = threading.Semaphore(0), threading.Semaphore(0)
        self._job: Callable[[], None] | None = None
        threading.Thread(target=self._work, name="gdkernels", daemon=True).start()

    def _work(self) -> None:
        while True:
            self._wake.acquire()
            assert self._job is not None
            self._job()
            self._done.release()

    def start(self, job: Callable[[], None]) -> None:
        self._job = job
        self._wake.release()

    def wait(self) -> None:
        self._done.acquire()


class _Pool:
    def __init__(self) -> None:
        self.idle: list[_Worker] = []
        self.lock = threading.Lock()


_pool = _Pool()


def _forget() -> None:
    """After a fork the threads are gone, and the lock may be held by one of them."""
    _pool.idle, _pool.lock = [], threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def run_on_threads(jobs: list[Callable[[], None]]) -> None:
    """Run `jobs` at the same time, the first on this thread; they may wait for each other.

    Each gets a thread that is idle or new: a job that waited in a queue for another that waits for it would never end.
    """
    with _pool.lock:
        workers = [_pool.idle.pop() if _pool.idle else _Worker() for _ in jobs[1:]]
    for worker, job in zip(workers, jobs[1:], strict=True):
        worker.start(job)
    try:
        jobs[0]()
    finally:
        for worker in workers:
            worker.wait()
        with _pool.lock:
            _pool.idle.extend(workers)
