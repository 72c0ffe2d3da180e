"""Small products stay on one thread, and whatever was set before comes back."""

import threading

import numpy as np
import pytest
import threadpoolctl
from gdkernels_numpy import NumPyBackend, threads

import gdkernels as gd

THREADS = 3


@pytest.fixture
def count(monkeypatch):
    """Return what tells how many threads a BLAS uses that is at first set to three."""
    setting = [THREADS]
    limit = threads.OneThread([(lambda: setting[0], lambda n: setting.__setitem__(0, n))])
    monkeypatch.setattr(threads, "_limit", lambda: limit)
    return lambda: setting[0]


def test_small_products_run_on_one_thread(count):
    with NumPyBackend().for_products(1000):
        assert count() == 1
    assert count() == THREADS


def test_large_products_run_on_all(count):
    with NumPyBackend().for_products(10**9):
        assert count() == THREADS


def test_an_error_ends_it(count):
    with pytest.raises(KeyError), NumPyBackend().for_products(1000):
        raise KeyError
    assert count() == THREADS


def test_it_ends_with_the_last_of_several(count):
    entered, leave = threading.Event(), threading.Event()

    def other():
        with NumPyBackend().for_products(1000):
            entered.set()
            leave.wait()

    thread = threading.Thread(target=other)
    with NumPyBackend().for_products(1000):
        thread.start()
        entered.wait()
    assert count() == 1
    leave.set()
    thread.join()
    assert count() == THREADS


@pytest.mark.parametrize(("hidden", "expected"), [(4, 1), (8000, THREADS)])
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


def test_the_blas_of_this_numpy():
    found = threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers
    libraries = [library for library in found if "numpy" in library.filepath]
    if not libraries:
        pytest.skip("NumPy's BLAS is none that threadpoolctl knows")
    before = [library.get_num_threads() for library in libraries]
    with NumPyBackend().for_products(1000):
        assert {library.get_num_threads() for library in libraries} == {1}
    assert [library.get_num_threads() for library in libraries] == before
