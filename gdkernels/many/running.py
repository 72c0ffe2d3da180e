"""Fits of many models as they run: in one pass where a backend can, in turn where not, here or dealt to ranks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gdkernels.dispatch.shared_executables import Executables
from gdkernels.groups import Group
from gdkernels.groups.agreement import agree, guarded
from gdkernels.groups.sharding import threads_of_ranks
from gdkernels.many.dealing import dealt
from gdkernels.system.thread_limits import at_most
from gdkernels.training.history import History
from gdkernels.training.jobs.fit_job import FitJob, digest_of
from gdkernels.training.jobs.meeting import MOST_AT_A_TIME, Meeting
from gdkernels.training.jobs.one_pass import in_one_pass
from gdkernels.training.jobs.shown import shown_by
from gdkernels.training.jobs.threads import GivenUpError, run_jobs
from gdkernels.training.own_functions import agree_on_functions

__all__ = ["JobRunner", "agree_on"]


def agree_on(group: Group, jobs: Sequence[FitJob]) -> None:
    """Find out whether all ranks of a group have the same jobs, of the same data."""
    if group.size > 1:
        digest = digest_of([(job.train, job.held_out) for job in jobs])
        with guarded(group):
            agree(group, {"call": "fit_many", "models": len(jobs), "data": digest})
            agree(group, {f"model {k}": job.identity() for k, job in enumerate(jobs)})
            fits = [(job.trainer.mlp.network.structure, job.trainer.settings) for job in jobs]
            agree_on_functions(group, fits, [f"model {k}" for k in range(len(jobs))])


@dataclass(frozen=True)
class JobRunner:
    """Runs jobs on some threads.

    Attributes
    ----------
    threads
        How many jobs run at the same time.
    bar
        Where each job that is done is shown; or None.
    ends
        Returns why all of them are to end, or None.
    """

    threads: int
    bar: Any
    ends: Callable[[], BaseException | None]

    def run(self, jobs: Sequence[FitJob], group: Group) -> list[History]:
        """Return the history of each job; those of several ranks are dealt to them, and all get what each job leaves.

        Raises
        ------
        GdkernelsError
            Of the first job that fails.
        """
        if group.size == 1:
            return self._histories(jobs, self.threads)
        mine = range(group.rank, len(jobs), group.size)
        with guarded(group), at_most(threads_of_ranks(group)[group.rank]):
            own = self._histories([jobs[k] for k in mine], min(self.threads, len(mine) or 1))
            found = dealt(group, len(jobs), lambda k: (jobs[k].state(), own[mine.index(k)]))
        for k, (arrays, _) in enumerate(found):
            if k not in mine:
                jobs[k].restore(arrays)
        return [history for _, history in found]

    def _histories(self, jobs: Sequence[FitJob], threads: int) -> list[History]:
        done = shown_by(self.bar)
        found = in_one_pass(dict(enumerate(jobs)), threads, done)
        if left := [k for k in range(len(jobs)) if k not in found]:
            found |= zip(left, self._in_turn([jobs[k] for k in left], threads, done), strict=True)
        return [found[k] for k in range(len(jobs))]

    def _in_turn(self, jobs: Sequence[FitJob], threads: int, done: Callable[[History], None]) -> list[History]:
        """Return the histories of fits; where a backend trains many at once, they meet after each epoch."""
        together = sum(job.train.binding.backend.trains_together for job in jobs) > 1
        if not together:
            return run_jobs([job.run for job in jobs], threads, done, self.ends)
        at_once = min(len(jobs), MOST_AT_A_TIME)
        meeting = Meeting(len(jobs), at_once)

        def attending(job: FitJob) -> Callable[[Executables, Callable[[], bool]], History]:
            return lambda executables, gives_up: meeting.attend(lambda: job.run(executables, gives_up), gives_up)

        try:
            return run_jobs([attending(job) for job in jobs], at_once, done, self.ends, lambda: meeting.executables)
        except GivenUpError as given_up:
            raise meeting.error or given_up from None
