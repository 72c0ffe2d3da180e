"""Threads that die, that cannot be had, and runs that are interrupted: an error or the right bits, and never a hang."""

import ctypes
import os
import subprocess
import sys
import threading

import pytest
from engine_runs import Data, bits, compiled, program
from gdkernels_numba.bytecode.turn_state import TurnState
from gdkernels_numba.cpu import threads
from gdkernels_numba.cpu.affinity import TakenCores
from training import fit, told, trainer

import gdkernels as gd
from gdkernels.definition import activations

WIDTHS = (20, 70, 30, 3)
PROGRAM = program(activations.relu, activations.tanh)


@pytest.fixture(autouse=True)
def pool(monkeypatch):
    """Return a pool of this test's own."""
    made = threads._Pool()
    monkeypatch.setattr(threads, "_pool", made)
    return made


@pytest.fixture
def runs():
    """Return a function that does a run on three threads and returns its bits, and what these are to be."""
    data = Data(PROGRAM, WIDTHS, 300)
    executable = compiled(data.program, threads=3)
    return (lambda: bits(data.run(executable, 64)[1])), bits(data.run(compiled(data.program, threads=3), 64)[1])


def doom(monkeypatch, worker):
    """Let a thread die as soon as it begins with its next task."""

    class Deadly(TakenCores):
        def take(self):
            if threading.current_thread() is worker.thread:
                raise SystemExit
            super().take()

    begin = TurnState._begin
    monkeypatch.setattr(threads, "TakenCores", Deadly)
    # Where other programs take the cores, a run may go on with one thread, and ask for no other.
    monkeypatch.setattr(TurnState, "_begin", lambda self: begin(self) and False)
    monkeypatch.setattr(threads._ThreadJob, "spare", lambda self: None)  # else a run may be over before it begins


def kill(worker):
    """Raise an exception in a sleeping thread and wake it: while one is pending, traced code of Python 3.11 hangs."""
    ended = ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(worker.thread.ident), ctypes.py_object(SystemExit)
    )
    worker._wake.put(None)
    assert ended == 1


def test_a_thread_that_dies_as_a_run_begins(runs, pool, monkeypatch):
    run, expected = runs
    assert run() == expected
    doom(monkeypatch, pool.idle[0])
    ended = r"a thread of the numba backend ended .*\(SystemExit: \); do not use what"
    with pytest.raises(gd.BackendError, match=ended):
        run()
    assert len(pool.idle) == 1
    assert run() == expected


def test_a_thread_that_died_meanwhile_is_replaced(runs, pool):
    run, expected = runs
    assert run() == expected
    for worker in pool.idle:
        kill(worker)
        worker.thread.join(10)
    assert run() == expected
    assert len(pool.idle) == 2


def test_a_thread_that_dies_before_it_sees_its_task(pool):
    (worker,) = pool.take(1)
    worker.dead = True
    worker._wake = type("Deaf", (), {"put": lambda self, item: None})()
    given_up = threading.Event()
    task = threads._ThreadJob(lambda: None, given_up.set, TakenCores())
    worker.start(task)
    assert given_up.is_set()
    assert isinstance(task.error, RuntimeError)


def test_no_more_threads_can_be_started(runs, monkeypatch):
    run, expected = runs

    def refuse(self):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as limited:
        limited.setattr(threads._pool, "idle", [])
        limited.setattr(threading.Thread, "start", refuse)
        with pytest.raises(gd.BackendError, match=r"a run cannot start its 3 threads \(can't .*NUMBA_NUM_THREADS"):
            run()
    assert run() == expected


def test_a_fit_whose_thread_dies_keeps_its_parameters_and_goes_on_from_its_checkpoint(tmp_path, monkeypatch, pool):
    monkeypatch.setattr("gdkernels.dispatch.binding.plan_choices", lambda *_: {"threads": 2, "pieces": 2})
    expected = told(made := trainer("numba"), fit(made, tmp_path / "whole"))
    made, ended = trainer("numba"), []

    def kill_in_the_third(epoch):
        ended.append([layer.W.tolist() for layer in made.mlp.parameters])
        if epoch.number == 2:
            doom(monkeypatch, pool.idle[0])

    with pytest.raises(gd.BackendError, match="a thread of the numba backend ended"):
        fit(made, tmp_path / "c", callbacks=[kill_in_the_third])
    assert [layer.W.tolist() for layer in made.mlp.parameters] == ended[1]
    again = trainer("numba")
    assert told(again, fit(again, tmp_path / "c")) == expected


INTERRUPTED = """
import random, signal
from engine_runs import Data, bits, compiled, program
from gdkernels.definition import activations

def interrupt(*_):
    raise KeyboardInterrupt

signal.signal(signal.SIGALRM, interrupt)
data = Data(program(activations.relu, activations.tanh), (20, 70, 30, 3), 300)
executable = compiled(data.program, threads=2)
wanted = bits(data.run(executable, 64)[1])
draw, interrupted = random.Random(0), 0
while interrupted < 200:
    try:
        signal.setitimer(signal.ITIMER_REAL, draw.uniform(1e-5, 2e-3))
        for _ in range(20):
            data.run(executable, 64)
        signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        interrupted += 1
assert bits(data.run(executable, 64)[1]) == wanted
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no timers that signal")
def test_an_interrupt_at_any_moment():
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *sys.path])}
    subprocess.run([sys.executable, "-c", INTERRUPTED], check=True, env=environment, timeout=300)
