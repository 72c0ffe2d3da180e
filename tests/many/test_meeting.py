"""Fits that meet: all steps that they wait for are done at once, and where one fails, none waits for ever."""

import threading

import pytest

from gdkernels.backend import Executable, Job, Plan, State
from gdkernels.training.jobs.meeting import Meeting
from gdkernels.training.jobs.threads import GivenUpError, run_jobs


class Counting(Executable):
    """An executable that does nothing but note how many jobs come at once."""

    origin, plan = "compiled", Plan("made up", "cpu", "float32")
    is_one_of_many = True

    def __init__(self):
        self.together, self.error = [], None

    def run(self, *given):
        raise AssertionError("all jobs come together")

    def predict(self, parameters, x):
        return x

    def run_many(self, jobs, threads=1):
        self.together.append(len(jobs))
        if self.error is not None and len(self.together) == 3:
            raise self.error
        return [[(float(job.batch_size), None)] for job in jobs]


def held(lengths, threads, executable, ends=lambda: None, fails=None):
    """Return what fits of so many epochs find; the one numbered `fails` raises an error in its second epoch."""
    meeting = Meeting(len(lengths), threads)

    def fit(k, gives_up):
        found = []
        for epoch in range(lengths[k]):
            if gives_up():
                raise GivenUpError
            if (k, epoch) == (fails, 1):
                raise ValueError("as planted")
            found += meeting.steps(Job(executable, State({}, {}), None, None, [[0]], k, None))
        return [error for error, _ in found]

    def job(k):
        return lambda _, gives_up: meeting.attend(lambda: fit(k, gives_up), gives_up)

    try:
        return run_jobs([job(k) for k in range(len(lengths))], threads, lambda found: None, ends)
    except GivenUpError as given_up:
        raise meeting.error or given_up from None


@pytest.mark.parametrize("threads", [2, 3, 5])
def test_fits_of_different_lengths_meet_until_each_is_done(threads):
    executable, lengths = Counting(), [3, 1, 4, 2, 5]
    assert held(lengths, threads, executable) == [[float(k)] * n for k, n in enumerate(lengths)]
    assert sum(executable.together) == sum(lengths)
    assert executable.together[0] == threads
    assert len(executable.together) < sum(lengths)


def test_an_error_of_one_is_the_error_of_all_and_none_waits_for_ever():
    with pytest.raises(ValueError, match="as planted"):
        held([4] * 4, 4, Counting(), fails=2)
    executable = Counting()
    executable.error = ValueError("in a launch")
    with pytest.raises(ValueError, match="in a launch"):
        held([4] * 4, 3, executable)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("gdkernels-many")]


def test_who_asks_for_an_end_gets_it():
    executable = Counting()
    with pytest.raises(KeyboardInterrupt):
        held([1000] * 3, 3, executable, lambda: KeyboardInterrupt() if len(executable.together) > 5 else None)
    assert len(executable.together) < 1000
