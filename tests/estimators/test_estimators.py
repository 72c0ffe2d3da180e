"""Wishes of scikit-learn's users: validation data, scorers, weights, losses, frames, and no crash."""

import copy
import os
import pickle
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from gdkernels.definition.objective import Objective
from gdkernels.estimators import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(2)
X = RNG.standard_normal((150, 4))
NUMBERS = X[:, 0] * X[:, 1] + X[:, 2]
LABELS = np.where(NUMBERS > 0.5, "high", np.where(NUMBERS > -0.5, "some", "low"))
SETTINGS = {"hidden_layer_sizes": (9,), "max_iter": 6, "random_state": 0, "learning_rate_init": 0.01}


def cauchy(prediction, target, *, xp):
    return xp.sum(xp.log1p((prediction - target) ** 2), axis=-1)


def brier(probability, target, *, xp):
    return xp.sum((probability - target) ** 2, axis=-1)


def mish(z, *, xp):
    return z * xp.tanh(xp.logaddexp(z, 0.0))


# ---- validation


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_validation_data_of_ones_own(solver):
    model = MLPRegressor(**SETTINGS, solver=solver, alpha=0.0)
    model.fit(X[:100], NUMBERS[:100], X_val=X[100:], y_val=NUMBERS[100:])
    assert len(model.validation_loss_curve_) == len(model.loss_curve_) == model.n_iter_
    residual = NUMBERS[100:] - model.predict(X[100:])
    assert model.validation_loss_curve_[-1] == pytest.approx(0.5 * np.mean(residual**2), rel=1e-9)
    plain = MLPRegressor(**SETTINGS, solver=solver, alpha=0.0).fit(X[:100], NUMBERS[:100])
    np.testing.assert_array_equal(model.coefs_[0], plain.coefs_[0])
    assert plain.validation_loss_curve_ is None
    with pytest.raises(ValueError, match="give both, or neither"):
        model.fit(X, NUMBERS, X_val=X)


def test_early_stopping_watches_what_it_is_told_to():
    settings = SETTINGS | {"max_iter": 60, "early_stopping": True, "learning_rate_init": 0.05, "n_iter_no_change": 4}
    split = X[:100], LABELS[:100]
    held_out = {"X_val": X[100:], "y_val": LABELS[100:]}
    by_loss = MLPClassifier(**settings, scoring="loss").fit(*split, **held_out)
    assert by_loss.n_iter_ < 60
    np.testing.assert_allclose(by_loss.validation_scores_, [-loss for loss in by_loss.validation_loss_curve_])
    # The parameters are those of the best epoch.
    kept = log_loss(LABELS[100:], by_loss.predict_proba(X[100:]))
    assert kept == pytest.approx(min(by_loss.validation_loss_curve_), rel=1e-6)
    named = MLPClassifier(**settings, scoring="neg_log_loss").fit(*split, **held_out)
    np.testing.assert_allclose(named.validation_scores_, by_loss.validation_scores_, rtol=1e-9)
    seen = []

    def own(estimator, x, y):
        seen.append(estimator.predict(x))
        return float(np.mean(seen[-1] == y))

    called = MLPClassifier(**settings, scoring=own).fit(*split, **held_out)
    plain = MLPClassifier(**settings).fit(*split, **held_out)
    np.testing.assert_allclose(called.validation_scores_, plain.validation_scores_)
    assert len(seen) == called.n_iter_


def test_a_split_of_frames_keeps_the_scorer_quiet():
    frame = pd.DataFrame(X, columns=list("abcd"))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        MLPClassifier(**SETTINGS, early_stopping=True, scoring="balanced_accuracy").fit(frame, LABELS)


# ---- losses, activations, weights, callbacks


def test_losses_and_activations_of_ones_own():
    for loss in ("huber", "mse", cauchy):
        for solver in ("adam", "lbfgs"):
            model = MLPRegressor(loss, (9, 5), [mish, "gelu"], solver=solver, random_state=0, max_iter=40)
            model.fit(X, NUMBERS)
            assert model.loss_curve_[-1] < model.loss_curve_[0]
            network = model._live.network
            program = network.structure.program(Objective(model._objective()))
            with network.bound(X) as binding:
                assert binding.executable(program).origin == "compiled"
    model = MLPClassifier(loss=brier, random_state=0, max_iter=30).fit(X, LABELS)
    error = np.sum((model.predict_proba(X) - (LABELS[:, None] == model.classes_)) ** 2, axis=1)
    assert model.out_activation_ == "softmax"
    assert np.mean(error) == pytest.approx(model.loss_curve_[-1], rel=0.1)
    assert np.mean(error) < model.loss_curve_[0]
    with pytest.raises(ValueError, match="3 activations given for 2 hidden layers"):
        MLPRegressor(hidden_layer_sizes=(3, 3), activation=["relu"] * 3).fit(X, NUMBERS)


def test_classes_weigh_as_much_as_records_of_that_weight():
    shares = {"high": 2.0, "low": 0.5}
    by_class = MLPClassifier(**SETTINGS, class_weight=shares).fit(X, LABELS)
    by_record = MLPClassifier(**SETTINGS).fit(X, LABELS, [shares.get(label, 1.0) for label in LABELS])
    np.testing.assert_array_equal(by_class.coefs_[0], by_record.coefs_[0])
    binary = LABELS == "high"
    balanced = MLPClassifier(**SETTINGS, class_weight="balanced").fit(X, binary, np.full(150, 2.0))
    counts = np.bincount(binary)
    by_record = MLPClassifier(**SETTINGS).fit(X, binary, 2.0 * (150 / (2 * counts))[binary.astype(int)])
    np.testing.assert_allclose(balanced.coefs_[0], by_record.coefs_[0], rtol=1e-12)
    # What is measured is measured as it is.
    watched = MLPClassifier(**SETTINGS, class_weight=shares).fit(X, LABELS, X_val=X, y_val=LABELS)
    assert watched.validation_loss_curve_[-1] == pytest.approx(log_loss(LABELS, watched.predict_proba(X)), rel=1e-6)
    with pytest.raises(ValueError, match="needs all the records at once; name the weight of each class"):
        MLPClassifier(class_weight="balanced").partial_fit(X, LABELS, classes=np.unique(LABELS))
    with pytest.raises(ValueError, match="class_weight names .*'none'.*, which are not among the classes"):
        MLPClassifier(class_weight={"none": 2.0}).fit(X, LABELS)


def test_callbacks_see_each_epoch_and_can_end_training(capsys):
    for solver in ("adam", "lbfgs"):
        seen = []

        def third(epoch, seen=seen):
            seen.append(epoch.loss)
            return len(seen) == 3

        model = MLPRegressor(**SETTINGS, solver=solver, callbacks=[third], progress=True).fit(X, NUMBERS)
        assert model.n_iter_ == 3
        np.testing.assert_allclose(seen, model.loss_curve_)
    assert "3/6" in capsys.readouterr().err


def test_precision_and_backend():
    model = MLPRegressor(**SETTINGS, precision="float32", backend="numpy").fit(X, NUMBERS)
    assert model.coefs_[0].dtype == model.predict(X).dtype == np.float32
    double = MLPRegressor(**SETTINGS).fit(X, NUMBERS)
    np.testing.assert_allclose(model.predict(X), double.predict(X), rtol=1e-3, atol=1e-4)
    with pytest.raises(ValueError, match="unknown backend 'nupmy'. Did you mean 'numpy'"):
        MLPRegressor(backend="nupmy").fit(X, NUMBERS)


@pytest.mark.parametrize("activation", ["relu", "logistic", []])
def test_no_hidden_layer(activation):
    model = MLPRegressor(hidden_layer_sizes=(), activation=activation, random_state=0, max_iter=5).fit(X, NUMBERS)
    np.testing.assert_allclose(model.predict(X), X @ model.coefs_[0][:, 0] + model.intercepts_[0], rtol=1e-12)


# ---- what goes wrong


@pytest.mark.parametrize("rate", [5.0, 1e200])
def test_divergence_is_a_warning_and_leaves_finite_parameters(rate):
    model = MLPRegressor(activation="identity", solver="sgd", learning_rate_init=rate, random_state=0)
    with pytest.warns(ConvergenceWarning, match="stopped being finite in epoch .* Lower the learning rate"):
        model.fit(X, NUMBERS)
    assert np.isnan(model.loss_curve_[-1])
    assert np.isfinite(model.loss_curve_[:-1]).all()
    assert len(model.loss_curve_) == model.n_iter_
    assert all(np.isfinite(a).all() for a in model.coefs_ + model.intercepts_)
    assert np.isfinite(model.predict(X)).all() == (rate < 10)


def test_an_interruption_keeps_what_there_is():
    def interrupt(epoch):
        if epoch.number == 2:
            raise KeyboardInterrupt

    model = MLPRegressor(**SETTINGS, callbacks=[interrupt])
    with pytest.warns(UserWarning, match="interrupted by user"):
        model.fit(X, NUMBERS)
    same = MLPRegressor(**SETTINGS | {"max_iter": 2}).fit(X, NUMBERS)
    np.testing.assert_array_equal(model.coefs_[0], same.coefs_[0])


# ---- data


def test_frames_and_sparse_matrices_give_what_arrays_give():
    columns = list("abcd")
    wanted = MLPRegressor(**SETTINGS).fit(X, NUMBERS)
    frames = {
        "pandas": pd.DataFrame(X, columns=columns),
        "polars": pl.DataFrame(X, schema=columns),
        "arrow": pa.table(dict(zip(columns, X.T, strict=True))),
    }
    for name, frame in frames.items():
        model = MLPRegressor(**SETTINGS).fit(frame, NUMBERS)
        np.testing.assert_array_equal(model.predict(frame), wanted.predict(X), err_msg=name)
        assert list(model.feature_names_in_) == columns
        with pytest.raises(ValueError, match="feature names should match"):
            model.predict(pd.DataFrame(X, columns=list("dcba")))
    series = pd.Series(NUMBERS), pl.Series(NUMBERS), pa.array(NUMBERS)
    for y in series:
        np.testing.assert_array_equal(MLPRegressor(**SETTINGS).fit(X, y).coefs_[0], wanted.coefs_[0])
    for kind in (scipy.sparse.csr_array, scipy.sparse.csc_matrix):
        model = MLPRegressor(**SETTINGS).fit(kind(X), NUMBERS)
        np.testing.assert_array_equal(model.predict(kind(X)), wanted.predict(X))


def test_batches_of_ones_own_are_the_batches_of_an_epoch():
    settings = SETTINGS | {"batch_size": 50, "shuffle": False}
    rows = [slice(0, 50), slice(50, 100), slice(100, 150)]
    wanted = MLPClassifier(**settings).fit(X, LABELS, np.arange(150.0), X_val=X, y_val=LABELS)
    weighted = [(X[r], LABELS[r], np.arange(150.0)[r]) for r in rows]
    for source in (weighted, lambda: iter(weighted)):
        model = MLPClassifier(**settings).fit(source, X_val=X, y_val=LABELS)
        np.testing.assert_array_equal(model.coefs_[0], wanted.coefs_[0])
        np.testing.assert_allclose(model.loss_curve_, wanted.loss_curve_, rtol=1e-9)
        assert model.validation_loss_curve_ == wanted.validation_loss_curve_
        assert (model.t_, model.n_iter_) == (wanted.t_, wanted.n_iter_)
    # All the labels are found, also those that only the last batch has.
    order = np.argsort(LABELS)
    model = MLPClassifier(**settings).fit([(pd.DataFrame(X[order[r]]), LABELS[order[r]]) for r in rows])
    assert list(model.classes_) == ["high", "low", "some"]
    numbers = MLPRegressor(**settings).fit([(X[r], NUMBERS[r]) for r in rows])
    np.testing.assert_array_equal(numbers.coefs_[0], MLPRegressor(**settings).fit(X, NUMBERS).coefs_[0])


def test_what_batches_cannot_do_is_said():
    pairs = [(X, NUMBERS)]
    for settings, source, message in (
        ({"solver": "lbfgs"}, pairs, "lbfgs needs all the records at once"),
        ({"early_stopping": True}, pairs, "early_stopping on batches needs validation data"),
        ({}, iter(pairs), "X is an iterator, which can be gone through once"),
        ({}, [*pairs, (X[:, :2], NUMBERS)], "X has 2 features, but MLPRegressor is expecting 4 features"),
    ):
        with pytest.raises(ValueError, match=message):
            MLPRegressor(**settings).fit(source)


# ---- scikit-learn's tools


def test_parameters_set_by_hand_are_used():
    model = MLPRegressor(**SETTINGS).fit(X, NUMBERS)
    before = model.predict(X)
    model.intercepts_[-1][:] += 1.0
    np.testing.assert_allclose(model.predict(X), before + 1.0, rtol=1e-12)
    model.coefs_[-1] = np.zeros_like(model.coefs_[-1])
    assert len(set(model.predict(X))) == 1


def test_other_layers_need_a_new_beginning():
    model = MLPRegressor(**SETTINGS, warm_start=True).fit(X, NUMBERS)
    model.set_params(hidden_layer_sizes=(9, 4))
    with pytest.raises(ValueError, match=r"goes on with layers of \(4, 9, 1\) units, but .* ask for \(4, 9, 4, 1\)"):
        model.fit(X, NUMBERS)
    model.set_params(warm_start=False).fit(X, NUMBERS)
    assert model.n_layers_ == 4


def test_copies_go_on_like_the_original(tmp_path):
    model = MLPClassifier(**SETTINGS, loss=brier).partial_fit(X, LABELS, classes=np.unique(LABELS))
    copies = [pickle.loads(pickle.dumps(model)), copy.deepcopy(model)]
    probability = model.predict_proba(X)
    model.partial_fit(X, LABELS)
    for each in copies:
        np.testing.assert_array_equal(each.predict_proba(X), probability)
        each.partial_fit(X, LABELS)
        np.testing.assert_array_equal(each.coefs_[0], model.coefs_[0])
    fresh = clone(model)
    assert not hasattr(fresh, "coefs_")
    assert fresh.get_params() == model.get_params()


def threads(estimator, x, y):
    from gdkernels_numba.cpu.features import cores

    return float(cores())


def test_pipelines_searches_and_parallel_fits(monkeypatch):
    for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    pipeline = make_pipeline(StandardScaler(), MLPClassifier(**SETTINGS))
    scores = cross_val_score(pipeline, X, LABELS, cv=3)
    search = GridSearchCV(pipeline, {"mlpclassifier__alpha": [1e-4, 1e-2]}, cv=3, n_jobs=2)
    search.fit(X, LABELS)
    np.testing.assert_allclose([search.cv_results_[f"split{k}_test_score"][0] for k in range(3)], scores)
    assert "MLPClassifier" in search._repr_html_()
    # As many processes as cores, and in each as many threads as there are cores left for it.
    allowed = GridSearchCV(pipeline, {"mlpclassifier__alpha": [1e-4]}, cv=2, n_jobs=2, scoring=threads)
    allowed.fit(X, LABELS)
    assert allowed.cv_results_["mean_test_score"][0] == max(1, len(os.sched_getaffinity(0)) // 2)
