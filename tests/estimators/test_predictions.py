"""Predictions at the edges: labels of a single class, logarithms of probabilities that are nearly 0 or 1."""

import numpy as np
import pytest
import scipy.sparse
import sklearn.neural_network as theirs
from sklearn.model_selection import cross_val_score

import gdkernels as gd
from gdkernels import estimators as ours

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(4)
X = RNG.standard_normal((1000, 5))


@pytest.mark.parametrize("label", [0, 7, "only"])
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_a_single_class_is_what_every_record_is(solver, label):
    settings = {"solver": solver, "max_iter": 2, "random_state": 0}
    y = np.full(1000, label)
    a, b = (m.MLPClassifier(**settings).fit(X, y) for m in (ours, theirs))
    if solver == "adam":
        assert a.predict_proba(X).max() > 0.5, "else nothing is tried here"
    np.testing.assert_array_equal(a.predict(X), b.predict(X))
    np.testing.assert_allclose(a.predict_proba(X), b.predict_proba(X), rtol=1e-4)
    assert a.score(X, y) == 1.0
    early = ours.MLPClassifier(**settings, early_stopping=True).fit(X, y)
    assert early.validation_scores_ is None or set(early.validation_scores_) == {1.0}
    parts = ours.MLPClassifier(random_state=0).partial_fit(X, y, classes=[label])
    np.testing.assert_array_equal(parts.predict(X), y)


def line(*weights, kind="binary"):
    """Return a classifier whose logits are its input times these weights."""
    labels = {"binary": [0, 1], "three": [0, 1, 2], "labels": np.eye(2, dtype=int)}[kind]
    model = ours.MLPClassifier((1,), "identity", max_iter=1, random_state=0, backend="numpy")
    model.fit(np.arange(len(labels), dtype=float)[:, None], labels)
    model.coefs_ = [np.ones((1, 1)), np.asarray([weights], dtype=float)]
    model.intercepts_ = [np.zeros(1), np.zeros(len(weights))]
    return model


@pytest.mark.parametrize("logit", [40.0, -40.0, 700.0, -1e4])
def test_logarithms_of_probabilities_are_finite_where_the_logits_are(logit):
    x = np.asarray([[logit]])
    small, large = -np.logaddexp(0.0, abs(logit)), -np.exp(-abs(logit))
    wanted = [small, large] if logit > 0 else [large, small]
    np.testing.assert_allclose(line(1.0).predict_log_proba(x), [wanted], rtol=1e-12)
    three = line(1.0, 0.0, 0.0, kind="three").predict_log_proba(x)[0]
    first = -np.log1p(2 * np.exp(-logit)) if logit > 0 else logit - np.log(2.0)
    np.testing.assert_allclose(three[0], first, rtol=1e-9, atol=1e-15)
    assert np.isfinite(three).all()
    labels = line(1.0, -1.0, kind="labels").predict_log_proba(x)[0]
    np.testing.assert_allclose(np.sort(labels), [small, large], rtol=1e-12, atol=1e-15)


def test_logarithms_for_a_loss_of_ones_own():
    def brier(probability, target, *, xp):
        return xp.sum((probability - target) ** 2, axis=-1)

    y = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0)
    model = ours.MLPClassifier((4,), loss=brier, max_iter=3, random_state=0).fit(X, y)
    np.testing.assert_allclose(model.predict_log_proba(X), np.log(model.predict_proba(X)), rtol=1e-9)
    model.coefs_[-1] = model.coefs_[-1] * 1e4
    assert np.isfinite(model.predict_log_proba(X)).all()


TYPES = ["float16", "float32", "float64", "int64", "int16", "bool"]


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("trained", ["float32", "float64", "int64"])
def test_the_type_that_comes_out_is_that_of_scikit_learn(solver, trained):
    settings = {"hidden_layer_sizes": (3,), "solver": solver, "max_iter": 2, "random_state": 0}
    x, y = (3 * X[:60]).astype(trained), X[:60, 0]
    for kind, target, name in (("MLPRegressor", y, "predict"), ("MLPClassifier", y > 0, "predict_proba")):
        a, b = (getattr(m, kind)(**settings).fit(x, target) for m in (ours, theirs))
        assert [c.dtype for c in a.coefs_] == [c.dtype for c in b.coefs_]
        for given in TYPES:
            found, wanted = (getattr(m, name)((3 * X[:60]).astype(given)) for m in (a, b))
            assert found.dtype == wanted.dtype, (kind, given)
            np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)
        assert a.predict_log_proba(x).dtype == b.predict_log_proba(x).dtype if name == "predict_proba" else True


def test_a_precision_that_is_named_comes_out():
    model = ours.MLPRegressor(hidden_layer_sizes=(3,), precision="float32", max_iter=2).fit(X, X[:, 0])
    assert {model.predict(X).dtype, model.coefs_[0].dtype} == {np.dtype("float32")}


@pytest.mark.parametrize("backend", ["auto", "numpy"])
def test_nothing_is_logged_at_info(caplog, backend):
    caplog.set_level("INFO", "gdkernels")
    model = ours.MLPRegressor(hidden_layer_sizes=(3,), max_iter=2, backend=backend)
    cross_val_score(model, X, X[:, 0], cv=3)
    model.fit(X, X[:, 0], X_val=X, y_val=X[:, 0]).predict(X)
    assert not caplog.records
    caplog.set_level("DEBUG", "gdkernels")
    model.fit(X, X[:, 0])
    assert "trained 2 epochs" in caplog.text
    assert {record.levelname for record in caplog.records} == {"DEBUG"}
    gd.MLP([5, 3, 1], backend=backend).fit(X, X[:, 0], epochs=1)
    assert "INFO" in {record.levelname for record in caplog.records}


@pytest.mark.parametrize("kind", [scipy.sparse.csr_matrix, scipy.sparse.csc_array])
def test_a_sparse_matrix_of_labels_comes_out_as_one(kind):
    settings = {"hidden_layer_sizes": (4,), "max_iter": 5, "random_state": 0}
    y = kind((X[:, :3] > 0).astype(int))
    a, b = (m.MLPClassifier(**settings).fit(X, y) for m in (ours, theirs))
    found, wanted = a.predict(X), b.predict(X)
    assert type(found) is type(wanted)
    assert found.dtype == wanted.dtype
    np.testing.assert_array_equal(found.toarray(), wanted.toarray())
    assert a.score(X, y) == b.score(X, y)
    early = ours.MLPClassifier(**settings, early_stopping=True, scoring="f1_macro").fit(X, y)
    assert max(early.validation_scores_) > 0
    assert isinstance(a.fit(X, y.toarray()).predict(X), np.ndarray)
