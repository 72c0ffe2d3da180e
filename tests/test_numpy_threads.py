"""Small products stay on one thread, and whatever was set before comes back."""

import os
import subprocess
import sys
import threading
import time
import types
from dataclasses import dataclass

import numpy as np
import pytest
import threadpoolctl
from gdkernels_numpy import NumPyBackend, threads

import gdkernels as gd
from gdkernels.backend import Plan, Program
from gdkernels.backend.definition_executable import bind

THREADS = 3
SMALL = 1_000_000
TINY, TINY_IN_LAYERS, LONGEST = 18_000, 524_288, 10_000


@pytest.fixture
def count(monkeypatch):
    """Return what tells how many threads a BLAS uses that is at first set to three."""
    setting = [THREADS]
    turns = threads.Turns([(lambda: setting[0], lambda n: setting.__setitem__(0, n))])
    monkeypatch.setattr(threads, "_turns", lambda: turns)
    return lambda: setting[0]


def test_small_products_run_on_one_thread(count):
    with NumPyBackend().for_products(SMALL):
        assert count() == 1
    assert count() == THREADS


def libraries(*versions, api="openblas"):
    return [types.SimpleNamespace(internal_api=api, version=version) for version in versions]


@pytest.mark.parametrize(
    ("found", "machine", "alone", "in_layers"),
    [
        (libraries("0.3.31.188.0", "0.3.28"), "x86_64", TINY, TINY_IN_LAYERS),
        (libraries("0.3.31.dev"), "AMD64", TINY, TINY_IN_LAYERS),
        (libraries("0.3.31.188.0", "0.3.27"), "x86_64", TINY, TINY),
        (libraries("0.3.31"), "aarch64", TINY, TINY),
        (libraries(None), "x86_64", TINY, TINY),
        (libraries("2026.1", api="mkl") + libraries("0.3.31"), "x86_64", -1, -1),
    ],
)
def test_nothing_is_set_for_products_that_openblas_computes_on_one_thread(
    count, found, machine, alone, in_layers, monkeypatch
):
    monkeypatch.setattr(threads, "_libraries", lambda: found)
    monkeypatch.setattr("platform.machine", lambda: machine)
    for name in ("_alone", "_alone_in_layers"):
        monkeypatch.setattr(threads, name, getattr(threads, name).__wrapped__)  # which remembers nothing
    backend = NumPyBackend()
    for flops in (0, TINY, TINY + 1, TINY_IN_LAYERS, TINY_IN_LAYERS + 1):
        for context, most in (
            (backend.for_products(flops), alone),
            (backend.for_layers(flops, LONGEST), in_layers),
            (backend.for_layers(flops, LONGEST + 1), alone),
        ):
            with context:
                assert count() == (THREADS if flops <= most else 1), flops


def test_tiny_products_have_the_same_bits_on_any_number_of_threads():
    if threads._alone() < 0:
        pytest.skip("NumPy's BLAS is not OpenBLAS")
    generator = np.random.default_rng(0)
    shapes = [(1, 90, 100), (1, 9000, 1), (3, 3000, 1), (20, 21, 21), (1, 1, 9000)]
    if threads._alone_in_layers() > TINY:
        shapes += [(1, 128, 128), (1, 512, 512), (1, 10_000, 26), (1, 26, 10_000), (1, 10_000, 1), (26, 10_000, 1)]
        shapes += [(8, 128, 256), (64, 64, 64), (2, 362, 362), (10_000, 26, 1), (10_000, 5, 5), (5, 10_000, 5)]
    for rows, depth, columns in shapes:
        assert 2 * rows * depth * columns <= (TINY_IN_LAYERS if threads._alone_in_layers() > TINY else TINY)
        a, b = (generator.standard_normal(shape) for shape in ((rows, depth), (depth, columns)))
        with threadpoolctl.threadpool_limits(1, "blas"):
            alone = a @ b
        with threadpoolctl.threadpool_limits(THREADS, "blas"):
            np.testing.assert_array_equal(a @ b, alone)


def test_large_products_run_on_all(count):
    with NumPyBackend().for_products(10**9):
        assert count() == THREADS


def test_an_error_ends_it(count):
    with pytest.raises(KeyError), NumPyBackend().for_products(SMALL):
        raise KeyError
    assert count() == THREADS


def test_it_ends_with_the_last_of_several(count):
    entered, leave = threading.Event(), threading.Event()

    def other():
        with NumPyBackend().for_products(SMALL):
            entered.set()
            leave.wait()

    thread = threading.Thread(target=other)
    with NumPyBackend().for_products(SMALL):
        thread.start()
        entered.wait()
    assert count() == 1
    leave.set()
    thread.join()
    assert count() == THREADS


def test_small_and_large_products_take_turns(count):
    """The numbers are what each wants, and nobody waits for ever."""
    seen, errors = [], []
    backend = NumPyBackend()

    def work(flops, expected):
        for _ in range(50):
            with backend.for_products(flops):
                for _ in range(3):
                    time.sleep(0)
                    if count() != expected:
                        errors.append((flops, count()))
            seen.append(flops)

    workers = [threading.Thread(target=work, args=a) for a in 3 * [(SMALL, 1)] + 3 * [(10**9, THREADS)]]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert not errors
    assert len(seen) == 300
    assert count() == THREADS


def test_whoever_comes_while_others_of_the_other_kind_wait_lets_them_go_first(count):
    backend, turns, order = NumPyBackend(), threads._turns(), []

    def work(kind, flops):
        with backend.for_products(flops):
            order.append(kind)

    def begun(kind, flops, waiting):
        """Start a thread, and return it once so many wait; the system may take its time."""
        thread = threading.Thread(target=work, args=(kind, flops), daemon=True)
        thread.start()
        while sum(turns._waiting.values()) < waiting and not order:
            time.sleep(0.001)
        return thread

    with backend.for_products(SMALL):
        both = [begun("large", 10**9, 1), begun("small", SMALL, 2)]
        assert order == [], "the second small one had to wait for the large one"
    for thread in both:
        thread.join(60)
    assert order == ["large", "small"]


def test_within_products_of_ones_own_nothing_waits(count):
    with NumPyBackend().for_products(SMALL), NumPyBackend().for_products(10**9):
        assert count() == 1
    with NumPyBackend().for_products(10**9), NumPyBackend().for_products(SMALL):
        assert count() == THREADS


def test_a_fork_begins_anew(count):
    turns = threads._turns()
    with NumPyBackend().for_products(SMALL):
        turns.after_fork()  # as in a child of this thread's process, while another is inside
        assert count() == THREADS
        with NumPyBackend().for_products(10**9):
            assert count() == THREADS
        turns._inside = 1


def test_the_plan_names_the_number(count):
    history = gd.MLP([2, 1], backend="numpy").fit(np.ones((3, 2)), np.ones(3), epochs=1)
    assert history.plan.choices == {"blas_threads": THREADS}


@pytest.mark.parametrize(("hidden", "expected"), [(40, 1), (8000, THREADS)])
def test_training_and_predicting_follow_their_size(count, hidden, expected):
    training, predicting = set(), set()

    class Spy(gd.Optimizer):
        learning_rate = 0.1

        def rule(self, w, g, slots, *, learning_rate, t, xp):
            if isinstance(w, np.ndarray):  # it is traced too, to be estimated
                training.add(count())
            return w, slots

    def spy(z, *, xp):
        predicting.add(count())
        return z

    X = np.ones((8, 1000))
    mlp = gd.MLP([1000, hidden, 1], activation=spy, backend="numpy")
    mlp.fit(X, X[:, 0], epochs=1, batch_size=8, optimizer=Spy())
    predicting.clear()
    mlp.predict(X)
    assert (training, predicting) == ({expected}, {expected})


def test_products_of_parameters_count_too():
    """They are made before any record is looked at, however few there are."""

    @dataclass(frozen=True)
    class Gram(gd.blocks.Block):
        def parameters(self, inputs):
            return {"W": ((inputs, 90), 0.0)}

        def __call__(self, p, a, *, xp, random=None):
            return xp.matmul(a, xp.matmul(p["W"], p["W"].T))

    class Spy(NumPyBackend):
        def for_layers(self, flops, longest):
            seen.append((flops, longest))
            return super().for_layers(flops, longest)

    seen: list[tuple[int, int]] = []
    program = Program(Gram(), 40)
    executable = bind(Spy(), program, Plan("numpy", "cpu", "float64", {}))
    executable.predict({"W": np.ones((40, 90))}, np.ones((1, 40)))
    executable.predict({"W": np.ones((40, 90))}, np.ones((500, 40)))
    assert seen == [(2 * 40 * 40 * 90, 90), (2 * 500 * 40 * 90, 500)]


def test_the_blas_of_this_numpy():
    found = threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers
    libraries = [library for library in found if "numpy" in library.filepath]
    if not libraries:
        pytest.skip("NumPy's BLAS is none that threadpoolctl knows")
    before = [library.get_num_threads() for library in libraries]
    with NumPyBackend().for_products(SMALL):
        assert {library.get_num_threads() for library in libraries} == {1}
    assert [library.get_num_threads() for library in libraries] == before


def test_each_python_thread_can_set_it():
    """threadpoolctl 3.8 lets the first thread that sets it do so, and ignores the others."""
    pairs = [threads._functions(library) for library in threads._libraries() if library.internal_api == "openblas"]
    if not pairs:
        pytest.skip("NumPy's BLAS is not OpenBLAS")
    before, seen = [get() for get, _ in pairs], []

    def work():
        for count in (2, 1):
            for _, put in pairs:
                put(count)
            seen.append({get() for get, _ in pairs})

    try:
        work()  # in a thread that lives on
        for worker in [threading.Thread(target=work) for _ in range(2)]:
            worker.start()
            worker.join()
    finally:
        for (_, put), number in zip(pairs, before, strict=True):
            put(number)
    # A library that was started with fewer threads may allow no more.
    assert seen in ([{2}, {1}] * 3, [{1}, {1}] * 3)
    assert [get() for get, _ in pairs] == before


INTERRUPTED = """
import random, signal, threading
from gdkernels_numpy.threads import Turns

def interrupt(*_):
    raise KeyboardInterrupt

def both():
    with turns.taken(1):
        assert setting[0] == 1
    with turns.taken(None):
        assert setting[0] == 4

signal.signal(signal.SIGALRM, interrupt)
setting = [4]
turns = Turns([(lambda: setting[0], lambda number: setting.__setitem__(0, number))])
draw, interrupted = random.Random(0), 0
while interrupted < 4000:
    try:
        signal.setitimer(signal.ITIMER_REAL, draw.uniform(1e-5, 1e-4))
        while True:
            both()
    except KeyboardInterrupt:
        interrupted += 1
other = threading.Thread(target=both, daemon=True)
other.start()
other.join(20)
assert not other.is_alive()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no timers that signal")
def test_an_interrupt_at_any_moment():
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", INTERRUPTED], check=True, env=environment, timeout=300)


def test_a_fork_waits_for_large_products_of_other_threads(count):
    """It would end the threads of BLAS, for which the other thread then waits for ever."""
    turns = threads._turns()
    entered, leave, forked = threading.Event(), threading.Event(), threading.Event()

    def large():
        with NumPyBackend().for_products(10**9):
            entered.set()
            leave.wait()

    def fork():
        turns.before_fork()
        forked.set()
        turns.after_fork_in_parent()

    workers = [threading.Thread(target=large), threading.Thread(target=fork)]
    workers[0].start()
    entered.wait()
    workers[1].start()
    assert not forked.wait(0.1)
    leave.set()
    assert forked.wait(10)
    for worker in workers:
        worker.join()
    with NumPyBackend().for_products(10**9):
        fork()  # of its own it waits for none
    with NumPyBackend().for_products(SMALL):
        fork()
    assert count() == THREADS


PRODUCTS = """
import os, threading, time
import numpy as np
import gdkernels as gd

X = np.random.default_rng(0).random((2048, 512)).astype(np.float32)
over = threading.Event()

def fit():
    gd.MLP([512, 512, 1], seed=0, backend="numpy").fit(X, X[:, :1], epochs=1, batch_size=2048, progress=False)

def go_on():
    while not over.is_set():
        fit()

fit()
thread = threading.Thread(target=go_on)
thread.start()
time.sleep(0.1)
for _ in range(5):
    child = os.fork()
    if child == 0:
        fit()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
over.set()
thread.join()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_while_another_thread_is_in_a_large_product():
    # The variables that this test suite sets would leave BLAS without threads.
    kept = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PRODUCTS],
        env=kept | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
