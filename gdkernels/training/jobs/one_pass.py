"""Many fits in one pass: what nobody looks at on the way, the backend does by itself, several models at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from itertools import chain, groupby

from gdkernels.backend import Job, Plan
from gdkernels.dispatch.shared_executables import Executables
from gdkernels.training.history import History
from gdkernels.training.jobs.fit_job import BegunFit, FitJob

__all__ = ["in_one_pass"]


def in_one_pass(jobs: Mapping[int, FitJob], threads: int, done: Callable[[History], None]) -> dict[int, History]:
    """Run the fits that nobody looks at on the way, and return their histories; the others, and those that diverge, are
    left to the caller.

    Parameters
    ----------
    jobs
        The fits by number.
    done
        Called with each history.
    """
    executables, begun = Executables(), deque[tuple[int, BegunFit]]()
    found: dict[int, History] = {}

    def made() -> Iterator[Job]:
        for k in _longest_first(jobs):
            if (one := jobs[k].begin(executables)) is not None:
                begun.append((k, one))
                yield one.job

    for _, group in groupby(made(), lambda job: (type(job.executable), _place(job.executable.plan))):
        first = next(group)
        for totals in first.executable.run_many(chain([first], group), threads):
            k, one = begun.popleft()
            if (history := jobs[k].end(one, totals)) is not None:
                found[k] = history
                done(history)
    return found


def _longest_first(jobs: Mapping[int, FitJob]) -> list[int]:
    """Return the numbers of fits, those that share code in a row, and the shortest last: so threads end together."""
    return sorted(jobs, key=lambda k: jobs[k].kind, reverse=True)


def _place(plan: Plan) -> tuple[str, str, str]:
    return plan.backend, plan.device, plan.precision
