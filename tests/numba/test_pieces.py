"""Pieces of a step: whoever computes them, in any order and with any number of threads, the bits are the same."""

import os
import random
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest
from engine_runs import BOTH, Data, assert_agrees, bits, compiled, compiled_by_default, program
from gdkernels_numba.cpu import threads
from gdkernels_numba.cpu.affinity import TakenCores
from gdkernels_numba.cpu.features import Caches
from gdkernels_numba.ir.format import Format
from gdkernels_numba.plan import StepFootprint, choose, shared_pieces
from gdkernels_numba.vm.fields import WORD
from gdkernels_numba.vm.shared_words import TURN_WORDS

from gdkernels.definition import activations
from gdkernels.definition.optimizers import Adam

relu, tanh = activations.relu, activations.tanh
WIDTHS = (70, 130, 90, 3)
PLANS = {
    "two phases": {"depth_first": False, "by_units": False, "tile_rows": 16, "tree_sums": True},
    "depth first": {"depth_first": True, "by_units": False, "tile_rows": 12, "tree_sums": True},
    "by units": {"depth_first": False, "by_units": True},
}


# Networks and batches whose default plans differ, with the last batch smaller than the others.
DEFAULTS = {
    "one piece": ((8, 32, 32, 1), 32, {}),
    "two pieces of a tile": ((32, 64, 64, 1), 64, {}),
    "pieces of odd height": ((70, 130, 90, 3), 150, {"optimizer": Adam()}),
    "four pieces": ((32, 64, 64, 1), 512, {"clip_norm": 0.1, "gradient_norm": True}),
    "pieces of several tiles": ((8, 32, 32, 1), 4096, {}),
    "fewer rows than pieces in the end": ((32, 64, 64, 1), 514, {}),
    "sums of the whole batch": ((300, 300, 150), 130, {"clip_norm": 0.1, "gradient_norm": True}),
    "by units": ((300, 300, 150), 20, {"clip_norm": 0.1, "gradient_norm": True}),
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


@pytest.mark.parametrize("transposed_back", [False, True])
def test_weights_that_are_read_by_rows_as_in_plans_of_old(transposed_back):
    data = Data(program(relu, tanh), WIDTHS, 100)
    executable = compiled(data.program, threads=2, by_units=True, tile_rows=64, transposed_back=transposed_back)
    assert_agrees(data, executable, 64)


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_threads_that_come_in_any_order_late_or_not_at_all(plan, monkeypatch):
    data = Data(program(relu, tanh), WIDTHS, 150)
    executable = compiled(data.program, threads=5, pieces=4, **plan)
    wanted = bits(data.run(executable, 64)[1])
    bound, draw = bound_of(executable), random.Random(0)
    jobs = list(bound._jobs)

    for _ in range(30):
        shuffled = draw.sample(jobs, draw.randint(2, len(jobs)))
        monkeypatch.setattr(bound, "_jobs", [late(job, draw) for job in shuffled])
        assert bits(data.run(executable, 64)[1]) == wanted


@pytest.mark.parametrize(("widths", "batch", "told"), DEFAULTS.values(), ids=DEFAULTS)
@pytest.mark.parametrize("precision", BOTH)
def test_bits_by_default_are_those_of_any_number_of_threads(precision, widths, batch, told, monkeypatch):
    data = Data(program(*[relu] * (len(widths) - 2), **told), widths, batch + batch // 2)
    draw, found, plans = random.Random(1), set(), []
    for count in (1, 2, 3, 5):
        executable = compiled_by_default(data.program, precision, threads=count)
        data.run(executable, batch, precision)
        bound = bound_of(executable)
        for _ in range(3 if count > 1 else 1):
            monkeypatch.setattr(bound, "_jobs", [late(job, draw) for job in draw.sample(bound._jobs, count)])
            loss, state = data.run(executable, batch, precision)
            found.add((loss, tuple(bits(state).items())))
        plans.append({name: value for name, value in executable.plan.choices.items() if name != "threads"})
    assert len(found) == 1
    assert all(plan == plans[0] for plan in plans)


def late(job, draw):
    def begin():
        time.sleep(draw.uniform(0, 1e-3))
        job()

    return begin


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
word, end = getattr(TURN_WORDS, sys.argv[2]), time.monotonic() + 100
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
    subprocess.run([sys.executable, "-c", ONE_CORE, plan, word], check=True, env=environment, timeout=300)


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
    """Pieces follow from sizes and caches, and threads from the cores; a plan of old keeps its pieces."""

    LONG = StepFootprint(batch=16384, flops=1.6e9, row_bytes=2600, widest_bytes=256, weight_bytes=130_000)
    SHORT = StepFootprint(batch=128, flops=2e7, row_bytes=2600, widest_bytes=512, weight_bytes=200_000)
    WIDE = StepFootprint(batch=1024, flops=2e10, row_bytes=26_000, widest_bytes=4096, weight_bytes=25_000_000)
    TINY = StepFootprint(batch=32, flops=3e5, row_bytes=520, widest_bytes=128, weight_bytes=11_000)
    FEW = StepFootprint(batch=16, flops=2e7, row_bytes=5200, widest_bytes=1024, weight_bytes=1_600_000)

    @staticmethod
    def choose(work, cores=2, precision="float32", **wished):
        return choose(work, Format(precision, 16), Caches(second=1 << 20), cores, wished)

    @pytest.mark.parametrize(("work", "pieces"), [(TINY, 1), (SHORT, 2), (FEW, 2), (LONG, 16), (WIDE, 16)])
    def test_as_many_on_every_machine(self, work, pieces):
        plans = [self.choose(work, cores).as_dict() for cores in (1, 2, 3, 8, 64)]
        plans += [self.choose(work, threads=threads).as_dict() for threads in (1, 2, 5)]
        assert [plan["pieces"] for plan in plans] == [pieces] * 8
        assert len({tuple(sorted(plan.items() - {("threads", plan["threads"])})) for plan in plans}) == 1

    def test_threads_without_a_piece_are_not_started(self):
        assert [self.choose(self.SHORT, cores).threads for cores in (1, 2, 8)] == [1, 2, 2]
        assert self.choose(self.LONG, 64).threads == 16

    def test_one_thread_sums_by_piece_where_that_is_less_work(self):
        alone, both = (self.choose(self.SHORT, threads=threads) for threads in (1, 2))
        assert (alone.sums_by_piece, both.sums_by_piece) == (True, False)
        assert not self.choose(self.LONG, threads=1).sums_by_piece

    def test_weights_are_transposed_but_for_a_few_rows_and_plans_of_old(self):
        plan = self.choose(self.FEW).as_dict()
        assert plan["by_units"]
        assert plan["transposed_back"]
        assert self.choose(self.FEW, **plan).transposed_back
        del plan["transposed_back"]
        assert "transposed_back" not in self.choose(self.FEW, **plan).as_dict()
        assert not self.choose(replace(self.FEW, batch=7)).transposed_back

    @pytest.mark.parametrize("threads", [1, 2, 3])
    def test_a_plan_of_old_goes_on_with_its_sums(self, threads):
        old = {"threads": threads, "tile_rows": 96, "depth_first": True, "by_units": False}
        assert self.choose(self.LONG, **old).pieces == threads
        assert self.choose(self.LONG, **old, pieces=2).pieces == 2
        plans = [self.choose(self.LONG, **old), self.choose(self.LONG, **old, pieces=16)]
        assert not any(plan.tree_sums or "tree_sums" in plan.as_dict() for plan in plans)

    def test_new_plans_sum_over_pieces_in_the_tree_and_say_so(self):
        named = {name: self.choose(getattr(self, name)).as_dict() for name in ("LONG", "SHORT", "WIDE", "TINY", "FEW")}
        assert {name for name, plan in named.items() if plan.get("tree_sums")} == {"LONG", "SHORT", "WIDE"}
        assert self.choose(self.LONG, **named["LONG"]).as_dict() == named["LONG"]
        assert "tree_sums" not in self.choose(replace(self.LONG, alone=True)).as_dict()

    def test_shards_take_over_pieces_that_they_can_share(self):
        plans = {shards: shared_pieces(self.choose(self.LONG), shards) for shards in (1, 2, 3, 16, 32)}
        assert {shards: plan["pieces"] for shards, plan in plans.items()} == {1: 16, 2: 8, 3: 1, 16: 1, 32: 1}
        assert plans[3] == plans[32] == {"pieces": 1}
        assert plans[16]["tile_rows"] == self.choose(self.LONG).tile_rows
        assert shared_pieces(self.choose(self.LONG, tile_rows=96, pieces=16), 2) == {"pieces": 1}
