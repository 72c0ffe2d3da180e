"""Solvers through the estimators, TabularPredictor and the command line."""

import json

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

import gdkernels as gd
from gdkernels.cli import main
from gdkernels.estimators import MLPClassifier, MLPRegressor

DRAW = np.random.default_rng(0)
X = DRAW.normal(size=(80, 2))
y = np.sin(X[:, 0]) * X[:, 1]
COMMON = {"hidden_layer_sizes": (6,), "activation": "tanh", "random_state": 0}


def test_a_regressor_fits_in_float64_and_tells_each_iteration():
    seen = []
    model = MLPRegressor(**COMMON, solver="lm", alpha=0.0, tol=1e-3, max_iter=300, callbacks=[seen.append])
    model.fit(X, y, X_val=X[:9], y_val=y[:9])
    assert model.score(X, y) > 0.99
    assert model.coefs_[0].dtype == np.float64
    assert model.n_iter_ == len(model.loss_curve_) == len(model.validation_loss_curve_) == len(seen) < 300
    assert model.loss_ == model.loss_curve_[-1] == seen[-1].loss
    assert seen[0].damping > 0


def test_the_reported_loss_of_several_outputs_is_scikit_learns():
    both = np.stack([y, y**2], axis=1)
    model = MLPRegressor(**COMMON, solver="lm", alpha=0.5, max_iter=500).fit(X, both)
    penalty = 0.25 * sum(float(np.sum(W * W)) for W in model.coefs_) / len(X)
    assert model.loss_ == pytest.approx(0.5 * np.mean((model.predict(X) - both) ** 2) + penalty, rel=1e-9)


def test_a_solver_as_an_object_and_a_classifier():
    classes = (y > 0.1).astype(int) + (y > 1)
    model = MLPClassifier(**COMMON, solver=gd.LevenbergMarquardt(gradient_tolerance=1e-6), alpha=0.1, max_iter=500)
    assert clone(model).fit(X, classes).score(X, classes) > 0.9
    bayes = MLPRegressor(**COMMON, solver=gd.LevenbergMarquardt(bayes=True), max_iter=500).fit(X, y)
    assert bayes.score(X, y) > 0.95


def test_what_does_not_converge_warns_and_what_is_not_stochastic_says_so():
    with pytest.warns(ConvergenceWarning, match=r"lm failed to converge after 2 iteration\(s\)"):
        model = MLPRegressor(**COMMON, solver="lm", max_iter=2).fit(X, y)
    with pytest.raises(AttributeError, match="partial_fit"):
        model.partial_fit(X, y)
    with pytest.raises(ValueError, match="lm needs all the records at once"):
        model.fit([(X, y)])


def test_the_command_line(tmp_path, capsys):
    table = tmp_path / "table.csv"
    rows = "\n".join(f"{a:.6f},{b:.6f},{c:.6f}" for (a, b), c in zip(X, y, strict=True))
    table.write_text(f"a,b,c\n{rows}\n")
    train = ["train", str(table), "--target", "c", "--activation", "tanh", "--average", "1", "--validation", "0.2"]
    assert main([*train, "--optimizer", "lm", "--epochs", "30", "--seed", "2", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["settings"]["optimizer"]["name"] == "lm"
    assert told["metrics"]["r2"] > 0.3
    assert main([*train, "--optimizer", "lbfgs", "--epochs", "5"]) == 0
    assert "lbfgs on all rows in each step" in capsys.readouterr().out


def test_sparse_rows_are_refused_with_what_to_do(monkeypatch):
    from scipy.sparse import csr_array

    monkeypatch.setattr("gdkernels.estimators.inputs._SMALL", 0)  # smaller ones are made dense
    with pytest.raises(gd.InputError, match=r"takes dense X; pass X.toarray\(\)"):
        MLPRegressor(**COMMON, solver="lm").fit(csr_array(X), y)


def test_a_table_whose_penalty_the_evidence_chooses():
    table = {"a": X[:, 0], "b": X[:, 1], "c": y + 0.1 * np.random.default_rng(1).normal(size=80)}
    found = gd.TabularPredictor(
        target="c", hidden=6, activation="tanh", optimizer=gd.LevenbergMarquardt(bayes=True), epochs=40
    ).fit(table)
    text = found.result_.as_text()
    assert "by the evidence, with " in text
    assert found.metrics_["r2"] > 0.7
    with pytest.raises(gd.InputError, match="l2 is chosen by"):
        gd.TabularPredictor(target="c", optimizer=gd.LevenbergMarquardt(bayes=True), l2=1.0).fit(table)
