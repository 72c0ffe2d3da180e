"""Fits that wait for each other: each is done as ever, and where all of them need steps, these are done at once.

Only one of the fits computes at a time, on a thread of its own. A backend that trains many models in one launch has
something to gain by that; others have not.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from gdkernels.backend import Executable, Job, Plan, State
from gdkernels.backend.executable import EpochsExecutable
from gdkernels.backend.program import Program
from gdkernels.definition.network import Arrays
from gdkernels.dispatch.shared_executables import Executables
from gdkernels.training.jobs.threads import GivenUpError

__all__ = ["MOST_AT_A_TIME", "Meeting"]

MOST_AT_A_TIME = 256  # fits: each has a thread

_PATIENCE = 0.5  # seconds after which one that waits asks whether all are given up

Result = TypeVar("Result")
Found = list[tuple[float, float | None]]  # of the epochs of a job


class Meeting:
    """The place where fits meet.

    Parameters
    ----------
    fits
        How many there are.
    threads
        How many of them are under way at a time; each of these threads takes the next fit when it has done one.

    Attributes
    ----------
    executables
        Those of all fits, whose steps are done here: one has a turn at a time.
    error
        The first of a fit.
    """

    def __init__(self, fits: int, threads: int) -> None:
        self._turn = threading.Condition()  # whose lock the fit has that computes
        self._to_come, self._under_way = fits - threads, threads
        self._asked: list[Job] = []
        self._found: dict[int, Found] = {}
        self._gives_up: Callable[[], bool] = lambda: False
        self.error: BaseException | None = None
        self.executables = Executables(lambda one: _MetExecutable(one, self) if one.is_one_of_many else one)

    def attend(self, fit: Callable[[], Result], gives_up: Callable[[], bool]) -> Result:
        """Return what a fit gives, which computes while all others wait for steps.

        Parameters
        ----------
        gives_up
            Whether all are to be given up.

        Raises
        ------
        GivenUpError
            If another one failed.
        """
        with self._turn:
            self._gives_up = gives_up
            try:
                result = fit()
            except BaseException as error:
                self.error = self.error or (None if isinstance(error, GivenUpError) else error)
                self._turn.notify_all()
                raise
            if self._to_come:
                self._to_come -= 1  # this thread comes again
            else:
                self._under_way -= 1
                self._turn.notify_all()
            return result

    def steps(self, job: Job) -> Found:
        """Return what a job gives, done with those of all other fits."""
        self._asked.append(job)
        while id(job) not in self._found:
            if self.error is not None or self._gives_up():
                raise GivenUpError
            if len(self._asked) == self._under_way:
                self._do_all()
            else:
                self._turn.wait(_PATIENCE)
        return self._found.pop(id(job))

    def _do_all(self) -> None:
        asked, self._asked = self._asked, []
        for jobs in _by_place(asked):
            for job, found in zip(jobs, jobs[0].executable.run_many(jobs), strict=True):
                self._found[id(job)] = found
        self._turn.notify_all()


def _by_place(jobs: Sequence[Job]) -> list[list[Job]]:
    """Return jobs that one call takes together."""
    found: dict[tuple[Any, ...], list[Job]] = {}
    for job in jobs:
        plan = job.executable.plan
        found.setdefault((type(job.executable), plan.backend, plan.device, plan.precision), []).append(job)
    return list(found.values())


class _MetExecutable(EpochsExecutable):
    """An executable whose steps are done at a meeting, with those of others."""

    def __init__(self, executable: Executable, meeting: Meeting) -> None:
        self._executable, self._meeting = executable, meeting

    @property
    def origin(self) -> str:  # type: ignore[override]
        return self._executable.origin

    @property
    def plan(self) -> Plan:  # type: ignore[override]
        return self._executable.plan

    @property
    def remark(self) -> str:  # type: ignore[override]
        return self._executable.remark

    def with_program(self, program: Program) -> Executable | None:
        found = self._executable.with_program(program)
        return None if found is None else _MetExecutable(found, self._meeting)

    def run_epochs(
        self,
        state: State,
        x: Any,
        y: Any,
        orders: npt.NDArray[np.int64],
        batch_size: int,
        learning_rates: npt.NDArray[np.float64],
        sample_weight: Any = None,
    ) -> Found:
        given = state, x, y, orders, batch_size, learning_rates, sample_weight
        return self._meeting.steps(Job(self._executable, *given))

    def predict(self, parameters: Arrays, x: Any) -> Any:
        return self._executable.predict(parameters, x)

    def workspace(self, batch_size: int) -> int:
        return self._executable.workspace(batch_size)
