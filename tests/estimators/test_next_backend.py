"""Estimators where a backend fails that nobody named: the next one goes on, and nothing is lost."""

import numpy as np
import pytest
from card_backend import Card
from plugins import working

import gdkernels as gd
from gdkernels.dispatch import preference
from gdkernels.errors import BackendError
from gdkernels.estimators import MLPClassifier, MLPRegressor

RANDOM = np.random.default_rng(4)
X = RANDOM.standard_normal((50, 6))
Y = np.sin(X[:, :2])
WEIGHTS = np.linspace(0.5, 2.0, 50)


@pytest.fixture(autouse=True)
def installed(plugins, monkeypatch, tmp_path):
    """The card is better than the host, whatever the work."""
    monkeypatch.setenv("GDKERNELS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(preference, "UNMEASURED_FLOPS", 0.0)
    plugins.add("card", "from card_backend import Card as Backend")
    plugins.add("numpy", working("numpy"))
    Card.plan()


def regressor(backend="auto", **settings):
    chosen = {"hidden_layer_sizes": (8,), "batch_size": 16, "max_iter": 4, "random_state": 0, "tol": 0.0}
    return MLPRegressor(backend=backend, **chosen | settings)


def where(estimator):
    return estimator._live.network.backend


@pytest.mark.filterwarnings("ignore:.*(reached|failed to converge)")
@pytest.mark.parametrize(
    ("settings", "fit", "run"),
    [
        ({"solver": "adam"}, {}, 3),
        ({"solver": "sgd", "early_stopping": True}, {}, 2),
        ({"solver": "adam"}, {"sample_weight": WEIGHTS}, 6),  # one step at a time: in the middle of an epoch
        ({"solver": "lbfgs"}, {}, 4),
        ({"solver": "lbfgs"}, {"sample_weight": WEIGHTS, "X_val": X[:9], "y_val": Y[:9]}, 3),
    ],
)
def test_a_fit_goes_on(settings, fit, run):
    wanted = regressor("numpy", **settings).fit(X, Y, **fit)
    Card.plan(run=run)
    found = regressor(**settings).fit(X, Y, **fit)
    assert where(found) == "numpy"
    np.testing.assert_allclose(found.loss_curve_, wanted.loss_curve_, rtol=1e-5)
    for mine, theirs in zip(found.coefs_, wanted.coefs_, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-6)
    assert found.n_iter_ == wanted.n_iter_


@pytest.mark.filterwarnings("ignore:.*reached")
@pytest.mark.parametrize("how", [{"predict": 1}, {"place": 1}])
def test_what_is_asked_afterwards_comes_from_the_next_one(how):
    regress, classify = regressor(), MLPClassifier(hidden_layer_sizes=(8,), max_iter=3, random_state=0)
    regress.fit(X, Y)
    classify.fit(X, np.arange(50) % 3)
    wanted = regress.predict(X), regress.score(X, Y), classify.predict_proba(X), regress.hidden_outputs(X)[0]
    Card.plan(**how)
    np.testing.assert_allclose(regress.predict(X), wanted[0], rtol=1e-4, atol=1e-6)
    assert regress.score(X, Y) == pytest.approx(wanted[1], rel=1e-5)
    np.testing.assert_allclose(classify.predict_proba(X), wanted[2], rtol=1e-4)
    np.testing.assert_allclose(regress.hidden_outputs(X)[0], wanted[3], rtol=1e-4, atol=1e-6)


def test_partial_fits_go_on():
    wanted, found = regressor("numpy"), regressor()
    for k in range(4):
        Card.plan(run=1 if k == 1 else 1 << 20)
        wanted.partial_fit(X, Y)
        found.partial_fit(X, Y)
    assert where(found) == "numpy"
    for mine, theirs in zip(found.coefs_, wanted.coefs_, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_one_that_was_named_is_an_error(solver):
    Card.plan(run=1)
    with pytest.raises(BackendError, match="the card cannot run"):
        regressor("card", solver=solver).fit(X, Y)


@pytest.mark.parametrize(("epochs", "run"), [(6, 1), (6, 5), (None, 1), (None, 5), (None, 40)])
def test_a_table_goes_on(epochs, run):
    """Networks that leave rows out, those that are averaged, and what measures them."""
    table = {f"c{k}": X[:, k] for k in range(6)} | {"target": Y[:, 0]}
    settings = {"hidden": [8], "seed": 0, "epochs": epochs, "progress": False}
    wanted = gd.TabularPredictor("target", backend="numpy", **settings).fit(table)
    Card.plan(run=run)
    found = gd.TabularPredictor("target", **settings).fit(table)
    assert next(Card.calls["run"]) > run, "it was used, and failed"
    assert found.metrics_ == pytest.approx(wanted.metrics_, rel=1e-2)
    np.testing.assert_allclose(found.predict(table), wanted.predict(table), rtol=1e-2, atol=1e-2)
    assert found.history_.backend == "numpy"
    assert "card failed: the card cannot run" in found.history_.reason
