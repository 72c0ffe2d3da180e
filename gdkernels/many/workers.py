"""Jobs on several threads: each takes the next one, and keeps for itself what jobs can share."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from typing import TypeVar

from gdkernels.dispatch.shared_executables import Executables

__all__ = ["GivenUpError", "run_jobs"]

Result = TypeVar("Result")


class GivenUpError(Exception):
    """A job ends because another one failed, or somebody interrupts."""


def run_jobs(
    jobs: Sequence[Callable[[Executables, Callable[[], bool]], Result]],
    threads: int,
    done: Callable[[], None],
) -> list[Result]:
    """Return the results of some jobs, which threads take one after the other.

    Each job is given the executables of its thread, and a function that says whether to give up.

    Parameters
    ----------
    done
        Called on this thread for each job that is done.

    Raises
    ------
    BaseException
        The first error of a job, or what interrupts; the other jobs are given up.
    """
    results: dict[int, Result] = {}
    numbers, failed = itertools.count(), threading.Event()

    def work() -> None:
        executables = Executables()
        while not failed.is_set() and (k := next(numbers)) < len(jobs):  # counting is atomic
            results[k] = jobs[k](executables, failed.is_set)

    if threads == 1:
        executables = Executables()
        for k, job in enumerate(jobs):
            results[k] = job(executables, failed.is_set)
            done()
        return [results[k] for k in range(len(jobs))]
    with ThreadPoolExecutor(threads, "gdkernels-many") as pool:
        pending = {pool.submit(work) for _ in range(threads)}
        seen = 0
        try:
            while pending:
                ended, pending = wait(pending, timeout=0.1, return_when=FIRST_COMPLETED)
                for _ in range(len(results) - seen):
                    done()
                    seen += 1
                for future in ended:
                    future.result()
        except BaseException:
            failed.set()
            raise
    return [results[k] for k in range(len(jobs))]
