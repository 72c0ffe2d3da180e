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


def compare(a, b):
    for ours_, theirs_ in zip(a.coefs_ + a.intercepts_, b.coefs_ + b.intercepts_, strict=True):
        np.testing.assert_allclose(ours_, theirs_, rtol=1e-7, atol=1e-9)
    assert (a.n_iter_, a.t_, a.n_layers_, a.n_outputs_) == (b.n_iter_, b.t_, b.n_layers_, b.n_outputs_)
    assert a.out_activation_ == b.out_activation_
    np.testing.assert_allclose(a.loss_curve_, b.loss_curve_, rtol=1e-9)
    for name in ("best_loss_", "best_validation_score_", "validation_scores_"):
        found, wanted = getattr(a, name), getattr(b, name)
        assert (found is None) == (wanted is None), name
        if wanted is not None:
            np.testing.assert_allclose(found, wanted, rtol=1e-9)


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


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
def test_several_outputs(settings):
    # scikit-learn reports the mean of the errors over the outputs, and the whole penalty beside it.
    a, b = (fitted(m.MLPRegressor(**COMMON | settings), X, NUMBERS["two"]) for m in (ours, theirs))
    compare(a, b)
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


WEIGHTS = np.floor(np.random.default_rng(9).exponential(2.0, 230) * 8) / 8 + 0.125


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
def test_weights(settings):
    # Each batch counts by its records in what scikit-learn reports, not by their weights.
    for y, models in ((NUMBERS["two"], "MLPRegressor"), (LABELS["multiclass"], "MLPClassifier")):
        a, b = (fitted(getattr(m, models)(**COMMON | settings), X, y, sample_weight=WEIGHTS) for m in (ours, theirs))
        compare(a, b)
        np.testing.assert_allclose(a.predict(X), b.predict(X), rtol=1e-6, atol=1e-8)


def test_weights_by_lbfgs():
    settings = COMMON | {"solver": "lbfgs", "max_iter": 5}
    a, b = (fitted(m.MLPRegressor(**settings), X, NUMBERS["one"], sample_weight=WEIGHTS) for m in (ours, theirs))
    np.testing.assert_allclose(a.predict(X), b.predict(X), rtol=1e-5, atol=1e-7)
    assert a.loss_ == pytest.approx(b.loss_, rel=1e-8)


def test_weights_decide_when_training_ends():
    x = np.random.default_rng(0).standard_normal((1000, 5))
    y, weights = 2 * x[:, 0] + x[:, 1] ** 2, np.random.default_rng(1).exponential(size=1000) ** 3
    settings = {"hidden_layer_sizes": (8,), "max_iter": 300, "random_state": 0, "learning_rate_init": 0.01, "tol": 1e-2}
    a, b = (fitted(m.MLPRegressor(**settings), x, y, sample_weight=weights) for m in (ours, theirs))
    assert a.n_iter_ == b.n_iter_ < 300
    compare(a, b)
    seen = []
    fitted(
        ours.MLPRegressor(**settings, callbacks=[lambda epoch: seen.append(epoch.loss)]), x, y, sample_weight=weights
    )
    assert seen == a.loss_curve_


def test_batches_of_ones_own_with_weights_report_what_records_do():
    settings = COMMON | {"shuffle": False, "solver": "sgd"}
    rows = [slice(k, k + 50) for k in range(0, 230, 50)]
    a = fitted(ours.MLPRegressor(**settings), [(X[r], NUMBERS["one"][r], WEIGHTS[r]) for r in rows], None)
    b = fitted(theirs.MLPRegressor(**settings), X, NUMBERS["one"], sample_weight=WEIGHTS)
    compare(a, b)


def test_lbfgs_of_several_outputs_minimises_what_its_gradient_says():
    # scikit-learn divides the errors in the value by the number of outputs, but not in the gradient.
    model = ours.MLPRegressor(hidden_layer_sizes=(), solver="lbfgs", alpha=20.0, tol=1e-9, random_state=0)
    fitted(model, X, NUMBERS["two"])
    (W,), error = model.coefs_, model.predict(X) - NUMBERS["two"]
    # SciPy ends where the value changes by less than 2e-9 of it, a gradient of about its root.
    np.testing.assert_allclose((X.T @ error + 20.0 * W) / len(X), 0.0, atol=1e-5)
    np.testing.assert_allclose(error.mean(axis=0), 0.0, atol=1e-5)
    # What is reported is scikit-learn's value.
    reported = 0.5 * np.mean(error**2) + 0.5 * 20.0 * np.sum(W * W) / len(X)
    assert model.loss_ == pytest.approx(reported, rel=1e-9)
    assert model.loss_curve_[-1] == pytest.approx(reported, rel=1e-9)


def test_float32():
    x = X.astype(np.float32)
    a, b = (fitted(m.MLPClassifier(**COMMON), x, LABELS["binary"]) for m in (ours, theirs))
    assert {c.dtype for c in a.coefs_} == {np.dtype("float32")}
    np.testing.assert_allclose(a.loss_curve_, b.loss_curve_, rtol=1e-4)


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_the_first_call_fixes_the_precision_and_no_state_is_lost(solver):
    a, b = (m.MLPRegressor(**COMMON | {"solver": solver}) for m in (ours, theirs))
    for k in range(8):
        for model in (a, b):
            model.partial_fit(X.astype("f4" if k % 2 else "f8"), NUMBERS["one"])
    assert a.coefs_[0].dtype == b.coefs_[0].dtype == np.float64
    for found, wanted in zip(a.coefs_ + a.intercepts_, b.coefs_ + b.intercepts_, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-7, atol=1e-9)
    for model in (a, b):  # where float32 came first, it stays
        model.set_params(random_state=1)
        fitted(model, X.astype("f4"), NUMBERS["one"]).partial_fit(X, NUMBERS["one"])
    assert a.coefs_[0].dtype == b.coefs_[0].dtype == np.float32


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_another_backend_goes_on_with_the_state_of_the_optimizer(solver):
    a, b = (m.MLPRegressor(**COMMON | {"solver": solver}) for m in (ours, theirs))
    for k in range(6):
        a.set_params(backend=("numpy", "numba", "auto")[k % 3])
        if k:
            a.predict(X)  # which moves it there already
        for model in (a, b):
            model.partial_fit(X, NUMBERS["one"])
    compare(a, b)
