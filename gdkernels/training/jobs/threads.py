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
    done: Callable[[Result], None],
    ends: Callable[[], BaseException | None] = lambda: None,
    executables_of_thread: Callable[[], Executables] = Executables,
) -> list[Result]:
    """Return the results of some jobs, which threads take one after the other.

    Each job is given the executables of its thread, and a function that says whether to give up.

    Parameters
    ----------
    done
        Called on this thread with the result of each job that is done.
    ends
        Asked on the way for an error to raise, because somebody wants all to end; the other jobs are given up.
    executables_of_thread
        Makes those of a thread.

    Raises
    ------
    BaseException
        The first error of a job, or what interrupts; the other jobs are given up.
    """
    results: dict[int, Result] = {}
    numbers, failed = itertools.count(), threading.Event()

    def given_up() -> bool:
        return failed.is_set() or ends() is not None

    def work() -> None:
        executables = executables_of_thread()
        while not given_up() and (k := next(numbers)) < len(jobs):  # counting is atomic
            results[k] = jobs[k](executables, given_up)

    if min(threads, len(jobs)) < 2:
        _run_in_turn(jobs, results, done, ends)
        return [results[k] for k in range(len(jobs))]
    with ThreadPoolExecutor(threads, "gdkernels-many") as pool:
        pending = {pool.submit(work) for _ in range(threads)}
        seen = 0
        try:
            while pending:
                ended, pending = wait(pending, timeout=0.1, return_when=FIRST_COMPLETED)
                new = [*results.values()][seen:]
                for result in new:
                    done(result)
                seen += len(new)
                if (error := ends()) is not None:
                    raise error
                for future in ended:
                    future.result()
        except BaseException:
            failed.set()
            raise
    return [results[k] for k in range(len(jobs))]


def _run_in_turn(
    jobs: Sequence[Callable[[Executables, Callable[[], bool]], Result]],
    results: dict[int, Result],
    done: Callable[[Result], None],
    ends: Callable[[], BaseException | None],
) -> None:
    executables = Executables()
    for k, job in enumerate(jobs):
        if (error := ends()) is not None:
            raise error
        try:
            results[k] = job(executables, lambda: ends() is not None)
        except GivenUpError:
            raise ends() or AssertionError("nobody has asked for an end") from None
        done(results[k])
