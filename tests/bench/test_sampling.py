"""Intervals that enclose the median as often as they say, and turns that are fair."""

import math
import statistics
from itertools import pairwise

import numpy as np
import pytest

from gdkernels.bench.sampling import interleaving
from gdkernels.bench.sampling.interleaving import SETTLE_SECONDS, SamplingLimit, interleave
from gdkernels.bench.sampling.statistics import LEAST_SAMPLES, interval, spread


@pytest.mark.parametrize(("count", "k"), [(6, 1), (8, 1), (9, 2), (11, 2), (12, 3), (20, 6), (25, 8), (100, 40)])
def test_the_interval_lies_between_the_ranks_of_the_textbook(count, k):
    samples = [float(v) for v in range(1, count + 1)]
    assert interval(samples[::-1]) == (k, count + 1 - k)


@pytest.mark.parametrize("count", range(1, LEAST_SAMPLES))
def test_few_samples_say_nothing(count):
    assert interval([1.0] * count) == (-math.inf, math.inf)
    assert spread([1.0] * count) == math.inf


@pytest.mark.parametrize("count", [6, 9, 15, 40])
def test_the_interval_encloses_the_median_of_a_skewed_distribution(count):
    rng = np.random.default_rng(count)
    low, high = np.array([interval(row) for row in rng.lognormal(0.0, 1.0, (2000, count)).tolist()]).T
    enclosed = np.mean((low <= 1.0) & (high >= 1.0))  # the median of this distribution is 1
    assert 0.94 <= enclosed <= 0.995


class Machine:
    """A clock, and works that take their time by it."""

    def __init__(self, **durations):
        self.now, self.calls = 0.0, []
        self.timers = {name: lambda name=name, take=take: self._run(name, take) for name, take in durations.items()}

    def _run(self, name, take):
        seconds = take(len(self.calls)) if callable(take) else take
        self.calls.append(name)
        self.now += seconds
        return seconds


def test_what_is_steady_takes_the_fewest_samples_and_turns_are_fair():
    machine = Machine(a=1.0, b=2.0)
    taken = interleave(machine.timers, SamplingLimit(0.02, seconds=1000), clock=lambda: machine.now)
    assert taken == {"a": [1.0] * LEAST_SAMPLES, "b": [2.0] * LEAST_SAMPLES}
    assert "".join(machine.calls) == "abba" * (LEAST_SAMPLES // 2)


def test_noise_is_sampled_until_it_is_known():
    rng = np.random.default_rng(0)
    machine = Machine(quiet=1.0, noisy=lambda _: rng.normal(1.0, 0.05))
    taken = interleave(machine.timers, SamplingLimit(0.02, seconds=1e6), clock=lambda: machine.now)
    assert len(taken["quiet"]) == len(taken["noisy"]) > LEAST_SAMPLES
    assert spread(taken["noisy"]) <= 0.02 < spread(taken["noisy"][:-1])


def test_a_drift_hits_all_alike():
    machine = Machine(a=lambda k: 1.0 + 0.01 * k, b=lambda k: 1.0 + 0.01 * k)
    taken = interleave(machine.timers, SamplingLimit(0.0, seconds=100), clock=lambda: machine.now)
    assert all(later > earlier for earlier, later in pairwise(taken["a"]))
    assert statistics.median(taken["a"]) == pytest.approx(statistics.median(taken["b"]), rel=0.01)


def test_time_ends_it_and_no_round_is_begun_that_cannot_end():
    machine = Machine(a=lambda k: 1.0 + (k % 2), b=3.0)
    taken = interleave(machine.timers, SamplingLimit(0.0, seconds=20), clock=lambda: machine.now)
    assert len(taken["a"]) == len(taken["b"])
    assert machine.now <= 20
    late = Machine(a=50.0)
    assert interleave(late.timers, SamplingLimit(seconds=20), clock=lambda: late.now) == {"a": [50.0]}


@pytest.mark.parametrize("spins", [0.15, 60.0])
def test_the_turn_of_another_library_waits_until_threads_sleep(monkeypatch, spins):
    spins_until, began = [0.0], []

    class Clock:
        """The clock of the wall, and of a process whose threads spin for a while."""

        now = 0.0

        def monotonic(self):
            return self.now

        def process_time(self):
            return min(self.now, spins_until[0])

        def sleep(self, seconds):
            self.now += seconds

    clock = Clock()
    monkeypatch.setattr(interleaving, "time", clock)

    def works():
        spins_until[0] = clock.now + spins
        return 1.0

    timers = {"spins on": works, "next": lambda: began.append(clock.now) or 1.0}
    interleave(timers, SamplingLimit(seconds=0.0), library=lambda name: name, clock=clock.monotonic)
    assert min(spins, SETTLE_SECONDS) <= began[0] < SETTLE_SECONDS + 0.1


def test_nothing_to_compare():
    assert interleave({}, SamplingLimit()) == {}
