"""The same parameters and the same random_state give scikit-learn's own numbers, in float64."""

import warnings

import numpy as np
import pytest
import sklearn.neural_network as theirs
from sklearn.exceptions import ConvergenceWarning

from gdkernels import estimators as ours

RNG = np.random.default_rng(0)
X = RNG.standard_normal((230, 6))
LABELS = {
    "multiclass": (X[:, 0] > 0).astype(int) + (X[:, 1] > 0.5),
    "binary": np.where(X[:, 0] * X[:, 1] > 0, "yes", "no"),
    "multilabel": np.stack([X[:, 0] > 0, X[:, 1] > 0, X[:, 2] > 1], axis=1).astype(int),
}
NUMBERS = {
    "one": X[:, 0] * X[:, 1],
    "two": X[:, :2] * X[:, 2:4],
    "counts": np.floor(np.exp(X[:, 0])),
}
COMMON = {"hidden_layer_sizes": (8, 5), "max_iter": 12, "random_state": 3, "batch_size": 50}  # the last batch is 30

SETTINGS = {
    "adam": {},
    "a large penalty": {"alpha": 3.0},
    "logistic": {"activation": "logistic", "learning_rate_init": 0.05},
    "tanh, in order": {"activation": "tanh", "shuffle": False},
    "other moments": {"beta_1": 0.7, "beta_2": 0.95, "epsilon": 1e-3},
    "descent": {"solver": "sgd", "momentum": 0.0, "learning_rate_init": 0.05},
    "momentum": {"solver": "sgd", "nesterovs_momentum": False, "learning_rate_init": 0.05},
    "Nesterov, inverse scaling": {"solver": "sgd", "learning_rate": "invscaling", "power_t": 0.2},
    "adaptive": {"solver": "sgd", "learning_rate": "adaptive", "tol": 0.5, "n_iter_no_change": 1},
    "early stopping": {"early_stopping": True, "validation_fraction": 0.2, "n_iter_no_change": 3, "max_iter": 40},
    "stops by itself": {"tol": 0.05, "n_iter_no_change": 2, "max_iter": 100},
}


def fitted(estimator, x, y, **fit):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return estimator.fit(x, y, **fit)


def compare(a, b, *, loss=1e-9):
    for ours_, theirs_ in zip(a.coefs_ + a.intercepts_, b.coefs_ + b.intercepts_, strict=True):
        np.testing.assert_allclose(ours_, theirs_, rtol=1e-7, atol=1e-9)
    assert (a.n_iter_, a.t_, a.n_layers_, a.n_outputs_) == (b.n_iter_, b.t_, b.n_layers_, b.n_outputs_)
    assert a.out_activation_ == b.out_activation_
    np.testing.assert_allclose(a.loss_curve_, b.loss_curve_, rtol=loss)
    for name in ("best_loss_", "best_validation_score_", "validation_scores_"):
        found, wanted = getattr(a, name), getattr(b, name)
        assert (found is None) == (wanted is None), name
        if wanted is not None:
            np.testing.assert_allclose(found, wanted, rtol=loss)


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
def test_classifier(settings):
    a = fitted(ours.MLPClassifier(**COMMON | settings), X, LABELS["multiclass"])
    b = fitted(theirs.MLPClassifier(**COMMON | settings), X, LABELS["multiclass"])
    compare(a, b)
    np.testing.assert_array_equal(a.predict(X), b.predict(X))
    np.testing.assert_allclose(a.predict_proba(X), b.predict_proba(X), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(a.predict_log_proba(X), b.predict_log_proba(X), rtol=1e-6, atol=1e-9)
    assert a._live.network.binding.backend.name == "numba"


@pytest.mark.parametrize("kind", ["binary", "multilabel"])
def test_other_labels(kind):
    a, b = (fitted(m.MLPClassifier(**COMMON), X, LABELS[kind]) for m in (ours, theirs))
    compare(a, b)
    np.testing.assert_array_equal(a.predict(X), b.predict(X))
    assert a.predict(X).dtype == b.predict(X).dtype
    np.testing.assert_allclose(a.predict_proba(X), b.predict_proba(X), rtol=1e-6, atol=1e-9)
    assert a.score(X, LABELS[kind]) == b.score(X, LABELS[kind])


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
def test_regressor(settings):
    a, b = (fitted(m.MLPRegressor(**COMMON | settings), X, NUMBERS["one"]) for m in (ours, theirs))
    compare(a, b)
    np.testing.assert_allclose(a.predict(X), b.predict(X), rtol=1e-6, atol=1e-9)


def test_other_targets():
    a, b = (fitted(m.MLPRegressor("poisson", **COMMON), X, NUMBERS["counts"]) for m in (ours, theirs))
    compare(a, b)
    np.testing.assert_allclose(a.predict(X), b.predict(X), rtol=1e-6)
    # scikit-learn divides the errors of several outputs by their number, not the penalty; we divide both.
    a, b = (fitted(m.MLPRegressor(**COMMON), X, NUMBERS["two"]) for m in (ours, theirs))
    compare(a, b, loss=1e-3)
    np.testing.assert_allclose(a.predict(X), b.predict(X), rtol=1e-6, atol=1e-9)


def test_lbfgs():
    settings = COMMON | {"solver": "lbfgs", "max_iter": 8, "alpha": 0.5, "activation": "tanh"}
    for a, b, y in (
        (ours.MLPClassifier(**settings), theirs.MLPClassifier(**settings), LABELS["multiclass"]),
        (ours.MLPRegressor(**settings), theirs.MLPRegressor(**settings), NUMBERS["one"]),
    ):
        fitted(a, X, y)
        fitted(b, X, y)
        assert a.n_iter_ == b.n_iter_
        assert a.loss_ == pytest.approx(b.loss_, rel=1e-8)
        for found, wanted in zip(a.coefs_ + a.intercepts_, b.coefs_ + b.intercepts_, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)


def test_going_on():
    random = [np.random.RandomState(5), np.random.RandomState(5)]
    a, b = (
        m.MLPClassifier(**COMMON | {"random_state": r, "solver": "sgd", "learning_rate": "invscaling"})
        for m, r in zip((ours, theirs), random, strict=True)
    )
    for model in (a, b):
        for rows in (slice(0, 100), slice(100, 230), slice(0, 230)):
            model.partial_fit(X[rows], LABELS["multiclass"][rows], classes=[0, 1, 2])
    compare(a, b)
    assert a.learning_rate_ == b._optimizer.learning_rate
    a, b = (m.MLPRegressor(**COMMON, warm_start=True) for m in (ours, theirs))
    for model in (a, b):
        fitted(fitted(model, X, NUMBERS["one"]), X[:120], NUMBERS["one"][:120])
    compare(a, b)


@pytest.mark.parametrize("activation", ["relu", "logistic"])
def test_no_hidden_layer(activation):
    settings = COMMON | {"hidden_layer_sizes": (), "activation": activation}
    a, b = (fitted(m.MLPClassifier(**settings), X, LABELS["multiclass"]) for m in (ours, theirs))
    compare(a, b)


def test_weights():
    weights = np.floor(RNG.uniform(0, 3, 230)) / 2 + 0.25
    for solver in ("sgd", "adam", "lbfgs"):
        settings = COMMON | {"solver": solver, "max_iter": 5}
        a, b = (fitted(m.MLPRegressor(**settings), X, NUMBERS["one"], sample_weight=weights) for m in (ours, theirs))
        np.testing.assert_allclose(a.predict(X), b.predict(X), rtol=1e-5, atol=1e-7)


def test_float32():
    x = X.astype(np.float32)
    a, b = (fitted(m.MLPClassifier(**COMMON), x, LABELS["binary"]) for m in (ours, theirs))
    assert {c.dtype for c in a.coefs_} == {np.dtype("float32")}
    np.testing.assert_allclose(a.loss_curve_, b.loss_curve_, rtol=1e-4)
