"""Sparse matrices are trained on and predicted for without being made dense as a whole, with the results of arrays."""

import gc
import tracemalloc
import warnings
import weakref
from functools import partial

import numpy as np
import pytest
import scipy.sparse
import sklearn.neural_network as theirs
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from strict_backend import StrictBackend

import gdkernels as gd
from gdkernels import estimators as ours
from gdkernels.data import sparse
from gdkernels.estimators import inputs
from gdkernels.system import memory
from gdkernels.system.memory import Room

RNG = np.random.default_rng(8)
X = scipy.sparse.random_array((300, 500), density=0.02, rng=RNG, format="csr")
NUMBERS = np.stack([X @ RNG.standard_normal(500), X @ RNG.standard_normal(500)], axis=1)
LABELS = (NUMBERS[:, 0] > 0).astype(int) + (NUMBERS[:, 1] > 0)
WEIGHTS = RNG.uniform(0.5, 2.0, 300)
SETTINGS = {"hidden_layer_sizes": (7, 4), "max_iter": 4, "random_state": 0, "batch_size": 70, "alpha": 0.5}

CASES = {
    "adam": {},
    "one layer": {"hidden_layer_sizes": ()},
    "descent": {"solver": "sgd", "momentum": 0.0, "learning_rate_init": 0.05},
    "in order": {"solver": "sgd", "shuffle": False},
    "early stopping": {"early_stopping": True},
    "lbfgs": {"solver": "lbfgs"},
}


@pytest.fixture(autouse=True)
def all_by_pieces(monkeypatch):
    """Let small matrices be large ones, whose batches take several pieces."""
    monkeypatch.setattr(inputs, "_SMALL", 0)
    monkeypatch.setattr(sparse, "_USUAL_BYTES", 4096)
    monkeypatch.setattr(sparse, "_LEAST_ROWS", 3)


def fitted(model, *arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(*arguments, **options)


def compare(a, b, *, rtol=1e-7):
    for found, wanted in zip(a.coefs_ + a.intercepts_, b.coefs_ + b.intercepts_, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=rtol, atol=rtol)
    assert (a.n_iter_, a.t_) == (b.n_iter_, b.t_)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("settings", CASES.values(), ids=CASES.keys())
def test_results_are_those_of_scikit_learn(settings, backend):
    options = SETTINGS | settings
    a = fitted(ours.MLPClassifier(**options, backend=backend), X, LABELS, WEIGHTS)
    b = fitted(theirs.MLPClassifier(**options), X, LABELS, WEIGHTS)
    rtol = 1e-4 if options.get("solver") == "lbfgs" else 1e-7  # as for arrays
    compare(a, b, rtol=rtol)
    np.testing.assert_allclose(a.predict_proba(X), b.predict_proba(X), rtol=1e-6 if rtol < 1e-6 else rtol)
    np.testing.assert_array_equal(a.predict(X.tocsc()), b.predict(X))
    assert a.score(X, LABELS) == b.score(X, LABELS)


@pytest.mark.parametrize("kind", [scipy.sparse.csr_matrix, scipy.sparse.csc_array, scipy.sparse.coo_array])
def test_results_are_those_of_arrays(kind):
    x = kind(X)
    model = fitted(ours.MLPRegressor(**SETTINGS), x, NUMBERS, X_val=x, y_val=NUMBERS)
    same = fitted(ours.MLPRegressor(**SETTINGS), X.toarray(), NUMBERS, X_val=X.toarray(), y_val=NUMBERS)
    compare(model, same)
    np.testing.assert_allclose(model.loss_curve_, same.loss_curve_, rtol=1e-9)
    np.testing.assert_allclose(model.validation_loss_curve_, same.validation_loss_curve_, rtol=1e-9)
    np.testing.assert_allclose(model.predict(x), same.predict(X.toarray()), rtol=1e-9, atol=1e-12)


def test_float32_scorers_callbacks_batches_and_parts():
    x = X.astype(np.float32)
    options = SETTINGS | {"early_stopping": True, "scoring": "f1_macro"}
    model = fitted(ours.MLPClassifier(**options), x, LABELS)
    same = fitted(ours.MLPClassifier(**options), x.toarray(), LABELS)
    assert model.coefs_[0].dtype == model.predict_proba(x).dtype == np.float32
    compare(model, same, rtol=1e-3)
    rows = [slice(0, 100), slice(100, 180), slice(180, 300)]
    parts, wholes = (ours.MLPRegressor(**SETTINGS) for _ in range(2))
    for r in rows:
        parts.partial_fit(X[r], NUMBERS[r])
        wholes.partial_fit(X[r].toarray(), NUMBERS[r])
    compare(parts, wholes)
    batches = fitted(ours.MLPRegressor(**SETTINGS), [(X[r], NUMBERS[r]) for r in rows])
    compare(batches, fitted(ours.MLPRegressor(**SETTINGS), [(X[r].toarray(), NUMBERS[r]) for r in rows]))


def test_a_backend_whose_arrays_are_its_own():
    a = fitted(ours.MLPRegressor(**SETTINGS, backend=StrictBackend()), X, NUMBERS)
    compare(a, fitted(ours.MLPRegressor(**SETTINGS, backend="numpy"), X, NUMBERS))


def test_pieces_are_never_larger_than_they_may_be(monkeypatch):
    monkeypatch.setattr(sparse, "PIECE_BYTES", 40_000)
    full = scipy.sparse.vstack([X, scipy.sparse.csr_array(np.ones((20, 500))), X[:5]], format="csr")
    order = np.random.default_rng(0).permutation(full.shape[0])
    pieces = list(sparse.SparseRows(full).pieces(order, "float64"))
    np.testing.assert_array_equal(np.concatenate([p.rows for p in pieces]), order)
    assert max(p.dense.nbytes for p in pieces) <= 40_000
    for piece in pieces:
        there = np.zeros((len(piece.rows), 500))
        there[:, piece.columns[: piece.own]] = piece.dense[:, : piece.own]
        np.testing.assert_array_equal(there, full[piece.rows].toarray())


def test_a_row_may_have_no_entry_and_an_entry_may_come_twice():
    rows, columns = [0, 0, 2, 2], [1, 1, 3, 0]
    x = scipy.sparse.csr_array(scipy.sparse.coo_array(([1.0, 2.0, -1.0, 0.0], (rows, columns)), shape=(3, 6)))
    twice = scipy.sparse.csr_array(([1.0, 2.0, 4.0], [1, 1, 3], [0, 2, 2, 3]), shape=(3, 6))
    for each in (x, twice):
        model = fitted(ours.MLPRegressor(**SETTINGS | {"batch_size": 2}), each, [1.0, 2.0, 3.0])
        same = fitted(ours.MLPRegressor(**SETTINGS | {"batch_size": 2}), each.toarray(), [1.0, 2.0, 3.0])
        compare(model, same)
        np.testing.assert_allclose(model.predict(each), same.predict(each.toarray()), rtol=1e-12)


@pytest.fixture
def many(monkeypatch):
    """Records that would be 1.6 GB as an array, taken in pieces of the usual size."""
    monkeypatch.undo()
    entries, random = 25 * 4000, np.random.default_rng(9)
    x = scipy.sparse.csr_array(
        (random.random(entries), random.integers(0, 50_000, entries), np.arange(0, entries + 1, 25)),
        shape=(4000, 50_000),
    )
    return x, random.integers(0, 2, 4000)


# Numba's threads have memory of their own, which one hidden unit is too little to compare with.
@pytest.mark.parametrize(("units", "backend"), [(1, "numpy"), (4, "numpy"), (4, "numba")])
def test_memory_is_at_most_twice_that_of_scikit_learn(many, units, backend):
    settings = {"hidden_layer_sizes": (units,), "max_iter": 2, "batch_size": 250, "random_state": 0}
    peaks = []
    for kind in (theirs.MLPClassifier, partial(ours.MLPClassifier, backend=backend)):
        fitted(kind(**settings), X, LABELS > 0).predict(X)  # what is loaded when it is first used
        tracemalloc.start()
        fitted(kind(**settings), *many).predict(many[0])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] <= 2 * peaks[0], peaks


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_a_batch_that_would_not_fit_as_an_array_is_not_split_and_needs_little(many, monkeypatch, caplog, backend):
    monkeypatch.setattr(memory, "room", lambda: Room(800_000_000, "what the test leaves"))
    x, y = many
    model = ours.MLPClassifier((2,), max_iter=1, batch_size=4000, random_state=0, backend=backend)
    with caplog.at_level("DEBUG", logger="gdkernels"):
        fitted(model, x, y)
    assert "does not fit" not in caplog.text
    batches = fitted(clone(model).set_params(shuffle=False), [(x, y)])
    compare(batches, fitted(clone(model).set_params(shuffle=False), x, y))
    told = [record.told for record in caplog.records if getattr(record, "told", {}).get("event") == "memory"]
    assert told[0]["total"] - told[0]["now"] < 400_000_000


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("settings", [{}, {"early_stopping": True}, {"solver": "lbfgs"}])
def test_a_fitted_estimator_keeps_no_records_and_goes_when_nobody_has_it(settings, backend, monkeypatch):
    rows = []

    def noted(self, matrix):
        as_made(self, matrix)
        rows.append(weakref.ref(matrix))

    as_made = sparse.SparseRows.__init__
    monkeypatch.setattr(sparse.SparseRows, "__init__", noted)
    gc.collect()
    gc.disable()
    try:
        for x in (X, X.toarray()):
            model = fitted(ours.MLPClassifier(**SETTINGS | settings, backend=backend), x.copy(), LABELS)
            rows.append(weakref.ref(next(iter(model._live.network.parameters.values()))))
            assert [each() is None for each in rows] == [True] * (len(rows) - 1) + [False]
            model.coefs_ = None
            del model
            assert rows[-1]() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_a_network_keeps_no_records(backend):
    records = np.ascontiguousarray(X.toarray(), np.float32)
    model = gd.MLP([500, 4, 2], seed=0, backend=backend)
    model.fit(records, NUMBERS, epochs=1)
    gone = weakref.ref(records)
    del records
    assert gone() is None
    model.fit(X.toarray(), NUMBERS, epochs=1)  # perhaps where the others were
    again = gd.MLP([500, 4, 2], seed=0, backend=backend)
    again.fit(X.toarray(), NUMBERS, epochs=2)
    np.testing.assert_array_equal(model.parameters[0].W, again.parameters[0].W)
