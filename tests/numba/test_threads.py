"""Threads: more than cores, several runs at once, after a fork; and the caller's floating-point state."""

import ctypes
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from engine_runs import BOTH, Data, bits, compiled, program
from gdkernels_numba.cpu import features
from gdkernels_numba.cpu.features import Caches
from gdkernels_numba.cpu.threads import OtherThreads, run_on_threads
from gdkernels_numba.ir.format import Format
from gdkernels_numba.plan import StepFootprint, choose

from gdkernels.definition import activations
from gdkernels.errors import BackendError

WIDTHS = (20, 70, 30, 3)
relu, tanh = activations.relu, activations.tanh


@pytest.mark.parametrize("precision", BOTH)
def test_two_python_threads_train_two_models_at_once(precision):
    data = [Data(program(relu, tanh), WIDTHS, 300, seed) for seed in range(4)]

    def trained(d):
        return bits(d.run(compiled(d.program, precision, threads=3), 64, precision, epochs=3)[1])

    alone = [trained(d) for d in data]
    together = [None] * len(data)

    def train(k):
        together[k] = trained(data[k])

    threads = [threading.Thread(target=train, args=(k,)) for k in range(len(data))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone


def test_one_executable_is_used_by_one_thread_at_a_time():
    data = Data(program(relu, tanh), WIDTHS, 300)
    executable = compiled(data.program, threads=2)
    wanted = executable.predict(data.parameters, data.x)
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(executable.predict(data.parameters, data.x))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(a, wanted) for a in found)


FORKS = """
import os, sys, warnings
from engine_runs import BOTH, Data, bits, compiled, program
from gdkernels.definition import activations

warnings.simplefilter("ignore", DeprecationWarning)  # of a fork with threads: ours are made anew
data = Data(program(activations.relu, activations.tanh), (20, 70, 30, 3), 300)
executable = compiled(data.program, sys.argv[1], threads=2)
wanted = bits(data.run(executable, 64, sys.argv[1])[1])
child = os.fork()
if child == 0:
    os._exit(0 if bits(data.run(executable, 64, sys.argv[1])[1]) == wanted else 1)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("precision", BOTH)
def test_threads_are_made_anew_after_a_fork(precision):
    # In a process of its own: other tests may have brought libraries that do not survive a fork.
    paths = [os.path.dirname(__file__), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    subprocess.run([sys.executable, "-c", FORKS, precision], check=True, env=environment, timeout=60)


def test_whoever_waits_for_a_thread_hears_that_it_begins_and_that_it_ends(monkeypatch):
    """One that missed either would wait for ten minutes here."""
    monkeypatch.setattr("gdkernels_numba.cpu.threads._MOMENT", 600.0)
    goes_on, begun = threading.Event(), []
    others = OtherThreads([lambda: (begun.append(1), goes_on.wait())])
    others.start()
    others.let_begin()
    goes_on.set()
    others.rest(600.0)
    others.wait()
    assert begun == [1]


def test_an_error_in_a_job_leaves_no_thread_waiting():
    given_up = threading.Event()

    def fail():
        raise ValueError("on purpose")

    with pytest.raises(ValueError, match="on purpose"):
        run_on_threads([fail, given_up.wait], given_up.set)
    with pytest.raises(BackendError, match="ValueError: on purpose"):
        run_on_threads([given_up.wait, fail], given_up.set)


@pytest.mark.parametrize("precision", BOTH)
def test_denormals_are_flushed_inside_and_kept_outside(precision):
    if not features.has_control_register():
        pytest.skip("denormals are flushed on x86 only")
    data = Data(program(relu), (4, 8, 2), 16)
    tiny = {name: a * np.float32(1e-39) for name, a in data.parameters.items()}
    output = compiled(data.program, precision, threads=2).predict(tiny, data.x)
    assert not output.any(), "what is denormal is zero inside"
    half = np.float32(np.finfo(np.float32).tiny) / np.float32(2)
    assert half > 0, "the caller's own arithmetic keeps its denormals"


class TestHowManyThreads:
    """Threads follow the work, and what the user wishes."""

    SMALL = StepFootprint(batch=32, flops=3e5, row_bytes=600, widest_bytes=400, weight_bytes=10_000)
    LARGE = StepFootprint(batch=1024, flops=1e10, row_bytes=30_000, widest_bytes=400, weight_bytes=30_000_000)

    @staticmethod
    def choose(work, **wished):
        return choose(work, Format("float32", 16), Caches(), 4, wished)

    def test_one_below_the_break_even(self):
        assert self.choose(self.SMALL).threads == 1
        assert self.choose(self.LARGE).threads == 4

    def test_as_many_as_wished(self):
        assert self.choose(self.SMALL, threads=3).threads == 3
        assert self.choose(self.LARGE, threads=1).threads == 1

    def test_more_than_rows_only_where_the_update_is_worth_it(self):
        assert (
            self.choose(StepFootprint(batch=2, flops=1e10, row_bytes=1, widest_bytes=400, weight_bytes=1)).threads == 2
        )
        assert (
            self.choose(
                StepFootprint(batch=1, flops=1e6, row_bytes=1, widest_bytes=8192, weight_bytes=30_000_000)
            ).threads
            == 4
        )

    @pytest.mark.parametrize("name", ["NUMBA_NUM_THREADS", "OMP_NUM_THREADS"])
    def test_as_many_as_the_environment_allows(self, name, monkeypatch):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
        for other in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS"):
            monkeypatch.delenv(other, raising=False)
        assert features.cores() == 8
        for value, count in (("3", 3), ("3,2", 3), ("99", 8), ("0", 8), ("many", 8)):
            monkeypatch.setenv(name, value)
            assert features.cores() == count


def test_importing_the_plug_in_imports_neither_numba_nor_llvmlite():
    code = "import sys, gdkernels_numba; sys.exit(any(m in sys.modules for m in ('numba', 'llvmlite')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_call_releases_the_interpreters_lock():
    data = Data(program(relu, tanh), WIDTHS, 300)
    executable = compiled(data.program)
    data.run(executable, 64)
    interpreter = executable._compiled.kernels.interpreter
    assert isinstance(interpreter, ctypes._CFuncPtr)
    assert not interpreter._flags_ & ctypes._FUNCFLAG_PYTHONAPI
