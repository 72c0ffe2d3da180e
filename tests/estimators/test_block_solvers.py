"""Estimators of networks of blocks: each solver, sparse data, single precision, dropout."""

import pickle

import numpy as np
import pytest
import scipy.sparse
from block_estimators import BLOCKS, LABELS, NUMBERS, PAIRS, SETTINGS, TanhGate, X, same
from sklearn.base import clone

import gdkernels as gd
from gdkernels.estimators import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

b = gd.blocks


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_lbfgs_minimises_the_penalised_loss_and_leaves_constants_alone(backend, outputs):
    y = PAIRS[:, :outputs] if outputs > 1 else NUMBERS
    settings = SETTINGS | {"alpha": 40.0, "max_iter": 1, "backend": backend}
    start = MLPRegressor(**settings | {"learning_rate_init": 1e-300}).fit(X, y).to_mlp()
    model = MLPRegressor(**settings, solver="lbfgs").fit(X, y)
    decaying = ("W0", "U1/1", "W3", "V3", "W4")
    slopes = start.gradient(X, y, loss="sse")
    for name in decaying:
        slopes[name] = slopes[name] + 40.0 / len(X) * start.parameters[name]
    # Its first step leads along the slope of what alpha asks for.
    step = np.concatenate([(model.parameters_[name] - start.parameters[name]).ravel() for name in slopes])
    down = -np.concatenate([slope.ravel() for slope in slopes.values()])
    assert step @ down == pytest.approx(np.linalg.norm(step) * np.linalg.norm(down), rel=1e-9)
    for name in ("spread2", "phase2"):
        np.testing.assert_array_equal(model.parameters_[name], start.parameters[name])
    squares = sum(float((model.parameters_[name] ** 2).sum()) for name in decaying)
    error = model.to_mlp().loss(X, y, loss="sse") / outputs + 0.5 * 40.0 * squares / len(X)
    assert model.loss_ == pytest.approx(error, rel=1e-9)
    assert clone(model).set_params(max_iter=20).fit(X, y).loss_ < 0.5 * model.loss_


def test_lbfgs_measures_validation_data():
    model = MLPRegressor(**SETTINGS | {"solver": "lbfgs"}).fit(X[:90], NUMBERS[:90], X_val=X[90:], y_val=NUMBERS[90:])
    assert len(model.validation_loss_curve_) == model.n_iter_
    last = 0.5 * np.mean((model.predict(X[90:]) - NUMBERS[90:]) ** 2)
    assert model.validation_loss_curve_[-1] == pytest.approx(last, rel=1e-9)


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_sparse_matrices(solver):
    wide = scipy.sparse.random_array((200, 3000), density=0.01, rng=np.random.default_rng(0), format="csr")
    y = np.asarray(wide[:, :200].sum(axis=1)).ravel()
    model = MLPRegressor(**SETTINGS | {"solver": solver, "precision": "float64"})
    dense, sparse = clone(model).fit(wide.toarray(), y), clone(model).fit(wide, y)
    for name, array in dense.parameters_.items():
        np.testing.assert_allclose(sparse.parameters_[name], array, rtol=1e-5, atol=1e-8, err_msg=name)
    np.testing.assert_allclose(sparse.predict(wide), dense.predict(wide.toarray()), rtol=1e-5, atol=1e-8)
    for found, wanted in zip(sparse.hidden_outputs(wide), dense.hidden_outputs(wide.toarray()), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-8)
    with pytest.raises(ValueError, match="does not begin with a product of X with weights"):
        MLPRegressor(network=b.LayerNorm()).fit(wide, y)


def test_what_blocks_put_out():
    model = MLPRegressor(**SETTINGS).fit(X, NUMBERS)
    p, a = model.parameters_, X
    wanted = []
    for k, block in enumerate(BLOCKS.blocks):
        own = {"W": "W0", "b": "b0"} if k == 0 else {n: n for n in ()}
        own |= {"scale0": "scale1/0", "shift0": "shift1/0", "U1": "U1/1", "b1": "b1/1"} if k == 1 else {}
        own |= {n: f"{n}{k}" for n in ("spread", "frequency", "phase")} if k == 2 else {}
        own |= {n: f"{n}{k}" for n in "WbVc"} if k == 3 else {}
        a = block({name: p[full] for name, full in own.items()}, a, xp=np)
        wanted.append(a)
    found = model.hidden_outputs(X)
    assert [f.shape[1] for f in found] == [6, 6, 24, 5]
    for f, w in zip(found, wanted, strict=True):
        np.testing.assert_allclose(f, w, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found[-1] @ p["W4"][:, 0] + p["b4"], model.predict(X), rtol=1e-9)


def test_single_precision():
    model = MLPRegressor(**SETTINGS).fit(X.astype("float32"), NUMBERS)
    assert {a.dtype for a in model.parameters_.values()} == {np.dtype("float32")}
    assert model.predict(X.astype("float32")).dtype == np.float32


def test_it_goes_elsewhere(tmp_path):
    model = MLPClassifier(**SETTINGS).fit(X, LABELS)
    net = gd.from_sklearn(model, precision="float32")
    net.save(tmp_path / "m")
    again = gd.load(tmp_path / "m", objects={"TanhGate": TanhGate})
    np.testing.assert_allclose(again.predict_proba(X), model.predict_proba(X), rtol=1e-3, atol=1e-5)
    assert again.extra["classes"] == ["high", "low", "some"]
    with pytest.raises(gd.InputError, match="fitted MLPClassifier or MLPRegressor"):
        gd.from_sklearn(MLPClassifier(network=BLOCKS))


def test_dropout_goes_on_where_it_was():
    plain = {"solver": "sgd", "momentum": 0.0, "learning_rate_init": 0.1, "batch_size": 30, "shuffle": False}
    model = MLPRegressor(hidden_layer_sizes=(8, 8), dropout=0.5, random_state=0, **plain).partial_fit(X, NUMBERS)
    again = clone(model).partial_fit(X, NUMBERS)
    same(model, again)
    kept = pickle.loads(pickle.dumps(model))
    without = clone(model).set_params(dropout=0.0, norm="layer").partial_fit(X, NUMBERS)
    assert abs(without.loss_ - model.loss_) > 1e-3
    predicted = model.predict(X)
    np.testing.assert_array_equal(model.predict(X), predicted)  # none in prediction
    first = {name: a.copy() for name, a in model.parameters_.items()}
    model.partial_fit(X, NUMBERS)
    kept.partial_fit(X, NUMBERS)
    same(model, kept)
    # Another seed drops others; nothing else is different, for gradient descent carries nothing along.
    other, alike = (clone(again).set_params(random_state=r).partial_fit(X, NUMBERS) for r in (1, 0))
    for each in (other, alike):
        for name, a in first.items():
            each.parameters_[name][...] = a
        each.partial_fit(X, NUMBERS)
    same(alike, model)
    assert all(np.abs(other.parameters_[name] - a).max() > 1e-4 for name, a in model.parameters_.items() if "W" in name)
    with pytest.raises(ValueError, match="L-BFGS needs a loss that is the same each time"):
        clone(model).set_params(solver="lbfgs").fit(X, NUMBERS)
