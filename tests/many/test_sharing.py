"""Executables that jobs share: by several starts, by the networks of a table, and never by what differs in code."""

import numpy as np
import pytest
from gdkernels_numba.bytecode import bound_step
from gdkernels_numba.executable import FusedExecutable

import gdkernels as gd
from gdkernels.dispatch.shared_executables import Executables, shared, sharing

RANDOM = np.random.default_rng(2)
X = RANDOM.standard_normal((120, 4)).astype(np.float32)
Y = np.sin(X[:, :1] * X[:, 1:2])


@pytest.fixture
def bound(monkeypatch):
    """Return a list with an entry for each step that was bound to memory."""
    made, init = [], bound_step.BoundStep.__init__
    monkeypatch.setattr(bound_step.BoundStep, "__init__", lambda self, *a: (made.append(1), init(self, *a))[1])
    return made


def mlp(backend="numba"):
    return gd.MLP([4, 8, 1], seed=3, backend=backend)


def bits(model):
    return [np.asarray(a).tobytes() for a in model.network.host_parameters().values()]


@pytest.mark.parametrize("backend", ["numba", "numpy"])
@pytest.mark.parametrize("run", [{}, {"validation": 0.2, "patience": 2}], ids=["all", "stopped"])
def test_starts_are_the_fits_that_they_would_be_alone(backend, run, bound):
    run = {"epochs": 6, "progress": False, "l2": 0.01, **run}
    model = gd.MLP([4, 8, 1], seed=3, backend=backend, threads=2)
    history = model.fit(X, Y, starts=4, **run)
    assert len(bound) <= 4, "one step, and one prediction, for each thread"
    alone = []
    for number in range(4):
        one = mlp(backend)
        if number:
            one.network.restart(number)
        losses = one.fit(X, Y, **run)
        kept = [e.watched for e in losses.epochs if e.number == losses.best_epoch]
        alone.append((kept[0], bits(one)))
    assert [start.loss for start in history.starts] == [loss for loss, _ in alone]
    assert bits(model) == min(alone)[1]


@pytest.mark.parametrize(
    ("sizes", "settings", "run"),
    [
        ([4, 8, 1], {"optimizer": "adam", "l2": 1e-3}, {"validation": 0.25, "patience": 1, "metrics": ["r2"]}),
        ([4, 8, 1], {"batch_size": 7}, {"gradient_norm": True, "sample_weight": np.linspace(0, 1, 120)}),
        ([4, 700, 1], {"batch_size": 120}, {"validation": (X[:30], Y[:30])}),
        ([4, 8, 1], {"optimizer": gd.SGD(1e12)}, {}),  # which diverges
    ],
    ids=["stopped", "weighted", "wide", "diverged"],
)
def test_starts_at_a_time_are_what_they_are_one_by_one(sizes, settings, run):
    found = []
    for callbacks in ([], [lambda epoch: None]):  # who sees every epoch has them one after the other
        model = gd.MLP(sizes, seed=3, backend="numba", threads=2)
        history = model.fit(X, Y, epochs=5, starts=3, callbacks=callbacks, progress=False, **settings, **run)
        told = [(e.number, e.loss, e.validation_loss, e.gradient_norm, e.metrics) for e in history.epochs]
        run_on = {name: value for name, value in run.items() if name != "metrics"}
        again = model.fit(X, Y, epochs=2, progress=False, **settings, **run_on)
        starts = history.starts, history.stopped, history.memory is not None, history.threads
        found.append((bits(model), told, [e.loss for e in again.epochs], starts))
    assert found[0] == found[1]


def test_the_networks_of_a_table_share(bound):
    table = {f"x{k}": X[:, k] for k in range(4)} | {"y": Y[:, 0]}
    gd.TabularPredictor("y", seed=0, average=2, epochs=5, hidden=[8], backend="numba").fit(table)
    few = len(bound)
    del bound[:]
    gd.TabularPredictor("y", seed=0, average=4, epochs=5, hidden=[8], backend="numba").fit(table)
    assert len(bound) <= few, "more networks need no more memory"


def test_what_runs_at_a_time_shares_only_what_is_the_same():
    executables = Executables()
    with sharing(executables):
        assert shared() is executables
        found = []
        for settings in [{"l2": 0.1}, {"l2": 0.2}, {"optimizer": "sgd"}, {"clip_norm": 1.0}, {"loss": "huber"}]:
            one = mlp()
            one.fit(X, Y, epochs=2, progress=False, **settings)
            found.append(bits(one))
    assert shared() is None
    assert executables.trained == 5
    for settings, kept in zip(
        [{"l2": 0.1}, {"l2": 0.2}, {"optimizer": "sgd"}, {"clip_norm": 1.0}, {"loss": "huber"}], found, strict=True
    ):
        other = mlp()
        other.fit(X, Y, epochs=2, progress=False, **settings)
        assert bits(other) == kept


def test_nobody_keeps_what_is_shared(monkeypatch):
    made, init = [], FusedExecutable.__init__
    monkeypatch.setattr(FusedExecutable, "__init__", lambda self, *a: (made.append(1), init(self, *a))[1])
    model = mlp()
    model.fit(X, Y, epochs=1, progress=False)
    with sharing(Executables()):
        inside = model.predict(X)
    del made[:]
    np.testing.assert_array_equal(model.predict(X), inside)
    assert len(made) == 1, "the network has made another executable, of its own"


def test_small_steps_wait_for_the_next_model_and_large_ones_do_not(bound):
    for width, wanted in ((9, 0), (700, 1)):
        for _ in range(2):
            del bound[:]
            models = [gd.MLP([4, width, width, 1], seed=k, backend="numba") for k in range(2)]
            gd.fit_many(models, X, Y, epochs=1, threads=1)
        assert len(bound) == wanted
