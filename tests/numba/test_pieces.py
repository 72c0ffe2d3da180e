"""Pieces of a step: whoever computes them, in any order and with any number of threads, the bits are the same."""

import os
import random
import subprocess
import sys
import threading
import time

import pytest
from engine_runs import BOTH, Data, bits, compiled, program
from gdkernels_numba.cpu import threads
from gdkernels_numba.cpu.affinity import TakenCores
from gdkernels_numba.cpu.features import Caches
from gdkernels_numba.ir.vector import Format
from gdkernels_numba.plan import StepFootprint, choose
from gdkernels_numba.vm.fields import WORD
from gdkernels_numba.vm.shared_words import TURN_WORDS

from gdkernels.definition import activations

relu, tanh = activations.relu, activations.tanh
WIDTHS = (70, 130, 90, 3)
PLANS = {
    "two phases": {"depth_first": False, "by_units": False, "tile_rows": 16},
    "depth first": {"depth_first": True, "by_units": False, "tile_rows": 12},
    "by units": {"depth_first": False, "by_units": True},
}


def bound_of(executable):
    (bound,) = executable._bound.by_use.values()
    return bound


def word_of(executable, offset):
    return bound_of(executable)._turns.words[offset // WORD]


@pytest.mark.parametrize("clip_norm", [None, 0.1])
@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
@pytest.mark.parametrize("precision", BOTH)
def test_bits_follow_from_the_pieces_and_not_from_the_threads(precision, plan, clip_norm):
    told = {} if clip_norm is None else {"clip_norm": clip_norm, "gradient_norm": True}
    data = Data(program(relu, tanh, **told), WIDTHS, 150)
    found = set()
    for count in (1, 2, 3, 5):
        executable = compiled(data.program, precision, threads=count, pieces=3, **plan)
        loss, state = data.run(executable, 64, precision, epochs=2)
        found.add((loss, tuple(bits(state).items())))
    assert len(found) == 1


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_threads_that_come_in_any_order_late_or_not_at_all(plan, monkeypatch):
    data = Data(program(relu, tanh), WIDTHS, 150)
    executable = compiled(data.program, threads=5, pieces=4, **plan)
    wanted = bits(data.run(executable, 64)[1])
    bound, draw = bound_of(executable), random.Random(0)
    jobs = list(bound._jobs)

    def late(job):
        def begin():
            time.sleep(draw.uniform(0, 1e-3))
            job()

        return begin

    for _ in range(30):
        shuffled = draw.sample(jobs, draw.randint(2, len(jobs)))
        monkeypatch.setattr(bound, "_jobs", [late(job) for job in shuffled])
        assert bits(data.run(executable, 64)[1]) == wanted


ONE_CORE = """
import os, sys, time
from engine_runs import Data, bits, compiled, program
from test_pieces import PLANS, WIDTHS, word_of
from gdkernels.definition import activations
from gdkernels_numba.vm.shared_words import TURN_WORDS

os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # threads take the core from each other, all the time
data = Data(program(activations.relu, activations.tanh), WIDTHS, 3000)
executable = compiled(data.program, threads=3, pieces=3, **PLANS[sys.argv[1]])
wanted = bits(data.run(compiled(data.program, threads=1, pieces=3, **PLANS[sys.argv[1]]), 64)[1])
word, end = getattr(TURN_WORDS, sys.argv[2]), time.monotonic() + 30
data.run(executable, 64)
happened = False  # a word may be 0 again after the next run
while not (happened := happened or bool(word_of(executable, word))) and time.monotonic() < end:
    assert bits(data.run(executable, 64)[1]) == wanted
assert bits(data.run(executable, 64)[1]) == wanted
raise SystemExit(0 if happened else "that never happened")
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system pins no process to a core")
@pytest.mark.parametrize(
    ("plan", "word"),
    [
        ("two phases", "repeated"),
        ("two phases", "taken_over"),
        ("depth first", "repeated"),
        ("by units", "alone_until"),
    ],
)
def test_a_late_piece_is_computed_again_or_one_thread_works_alone(plan, word):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *sys.path])}
    subprocess.run([sys.executable, "-c", ONE_CORE, plan, word], check=True, env=environment, timeout=60)


def test_a_run_begins_alone_while_others_were_late_just_now():
    data = Data(program(relu, tanh), WIDTHS, 150)
    executable = compiled(data.program, threads=3)
    wanted = bits(data.run(executable, 64)[1])
    bound = bound_of(executable)
    first = bound._jobs[0]

    def never():
        raise AssertionError("it was to sleep")

    bound._jobs = [first, never, never]
    words = bound._turns.words
    words[TURN_WORDS.alone_until // WORD] = time.monotonic_ns() + 10**11
    assert bits(data.run(executable, 64)[1]) == wanted
    words[TURN_WORDS.alone_until // WORD] = time.monotonic_ns() - 1
    assert not bound._turns._begin()


def test_a_job_that_has_not_begun_is_spared():
    task = threads._ThreadJob(lambda: None, lambda: None, TakenCores())
    task.spare()
    task.spare()
    assert task.over
    assert not task.begin()
    begun = threads._ThreadJob(lambda: None, lambda: None, TakenCores())
    assert begun.begin()
    begun.spare()
    assert not begun.over


def test_a_run_does_not_wait_for_a_thread_that_sleeps(monkeypatch):
    pool, asleep, awake = threads._Pool(), threading.Event(), threading.Event()
    monkeypatch.setattr(threads, "_pool", pool)

    class Sleepy(TakenCores):
        def take(self):
            asleep.set()
            awake.wait(10)

    monkeypatch.setattr(threads, "TakenCores", Sleepy)
    (worker,) = pool.take(1)
    slow = threads._ThreadJob(lambda: None, lambda: None, Sleepy())
    worker.start(slow)
    assert asleep.wait(10)  # it is busy with this
    pool.put_back([worker])
    ran = []
    threads.run_on_threads([lambda: ran.append(0), lambda: ran.append(1)], spare=True)
    assert ran == [0]
    awake.set()
    slow.wait()


class TestHowManyPieces:
    """Pieces follow the threads, but for long steps whose pieces have gradients of their own."""

    LONG = StepFootprint(batch=16384, flops=1.6e9, row_bytes=2600, widest_bytes=256, weight_bytes=130_000)

    @staticmethod
    def choose(work, **wished):
        return choose(work, Format("float32", 16), Caches(second=1 << 20), 2, wished)

    def test_as_many_as_threads(self):
        short = StepFootprint(batch=128, flops=2e7, row_bytes=2600, widest_bytes=512, weight_bytes=200_000)
        assert [self.choose(short, threads=k).pieces for k in (1, 2, 3)] == [1, 2, 3]

    def test_long_steps_have_more_whatever_the_threads(self):
        assert [self.choose(self.LONG, threads=k).pieces for k in (2, 3, 5)] == [16, 16, 16]

    def test_one_thread_goes_on_with_one_sum(self):
        assert self.choose(self.LONG, threads=1).pieces == 1

    def test_a_plan_of_old_goes_on_with_its_sums(self):
        old = {"threads": 2, "tile_rows": 96, "depth_first": True, "by_units": False}
        assert self.choose(self.LONG, **old).pieces == 2
