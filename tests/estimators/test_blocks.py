"""Estimators of networks of any shape: what `network`, `residual` and `norm` make, and scikit-learn's ways with it."""

import copy
import pickle

import numpy as np
import pytest
from block_estimators import BLOCKS, CHAIN, LABELS, NUMBERS, PAIRS, SETTINGS, TanhGate, X, same
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier as TheirClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

import gdkernels as gd
from gdkernels.estimators import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

b = gd.blocks


# ---- what it is


def test_the_block_stands_before_the_output_layer():
    model = MLPRegressor(**SETTINGS).fit(X, PAIRS)
    net = model.to_mlp()
    assert type(net) is gd.Network
    assert net.block == b.Sequential(*BLOCKS.blocks, b.Dense(2))
    assert (net.inputs, net.precision) == (4, "float64")
    np.testing.assert_allclose(net.predict(X), model.predict(X), rtol=1e-12)
    assert model.parameters_.keys() == net.parameters.keys()
    alone = MLPRegressor(network=TanhGate(3), max_iter=1, random_state=0).fit(X, NUMBERS)
    assert alone.to_mlp().block == b.Sequential(TanhGate(3), b.Dense(1))
    line = MLPRegressor(network=b.Sequential(), max_iter=1, random_state=0).fit(X, NUMBERS)
    np.testing.assert_allclose(line.predict(X), X @ line.coefs_[0][:, 0] + line.intercepts_[0], rtol=1e-12)
    residual = b.Residual(b.Dense(4, "relu"))  # a Sequential by its class, and no chain
    whole = MLPRegressor(network=residual, max_iter=1, random_state=0).fit(X, NUMBERS).to_mlp().block
    assert whole == b.Sequential(residual, b.Dense(1))


@pytest.mark.parametrize("loss", ["log_loss", "cross_entropy"])
@pytest.mark.parametrize("y", [LABELS, X[:, 0] > 0, (X[:, :3] > 0).astype(int)], ids=["three", "two", "several"])
def test_classifiers(y, loss):
    model = MLPClassifier(**SETTINGS | {"max_iter": 60}, loss=loss).fit(X, y)
    assert model.score(X, y) > (0.4 if np.ndim(y) == 2 else 0.75)
    net = model.to_mlp()
    probability = model.predict_proba(X)
    if model.n_outputs_ == 1:
        probability = probability[:, 1:]
    np.testing.assert_allclose(net.predict_proba(X), probability, rtol=1e-9)
    assert np.isfinite(model.predict_log_proba(X)).all()


def test_initial_values_are_those_of_the_blocks_and_follow_random_state():
    start = {"max_iter": 1, "learning_rate_init": 1e-300}
    one, again, other = (MLPRegressor(**SETTINGS | start | {"random_state": r}).fit(X, NUMBERS) for r in (0, 0, 1))
    same(one, again)
    assert not np.array_equal(one.parameters_["U1/1"], other.parameters_["U1/1"])
    np.testing.assert_array_equal(one.parameters_["scale1/0"], 1.0)
    assert np.abs(one.parameters_["b0"]).max() < 1e-200
    assert 0.8 < np.abs(one.parameters_["W0"]).max() <= np.sqrt(6 / 4)  # He et al., before relu


@pytest.mark.parametrize(
    "settings", [{"residual": True}, {"norm": "layer"}, {"dropout": 0.2}, {"residual": True, "norm": "layer"}]
)
def test_residual_norm_and_dropout_are_those_of_an_mlp(settings):
    model = MLPRegressor(hidden_layer_sizes=(8, 8, 8), activation="tanh", max_iter=4, random_state=0, **settings)
    model.fit(X, PAIRS)
    assert model.to_mlp().block == gd.MLP([4, 8, 8, 8, 2], activation="tanh", **settings).block
    assert not hasattr(model, "coefs_")
    with pytest.raises(ValueError, match="there is none in \\[4, 100, 1\\]"):
        MLPRegressor(residual=True).fit(X, NUMBERS)
    with pytest.raises(ValueError, match="batch norm is not among them"):
        MLPRegressor(norm="batch").fit(X, NUMBERS)


def test_a_chain_shows_what_scikit_learn_shows():
    model = MLPRegressor(**SETTINGS | {"network": CHAIN}).fit(X, NUMBERS)
    assert [W.shape for W in model.coefs_] == [(4, 7), (7, 5), (5, 1)]
    assert model.n_layers_ == 4
    hidden = np.maximum(np.tanh(X @ model.coefs_[0] + model.intercepts_[0]) @ model.coefs_[1] + model.intercepts_[1], 0)
    np.testing.assert_allclose(model.predict(X), hidden @ model.coefs_[2][:, 0] + model.intercepts_[2], rtol=1e-9)
    assert isinstance(model.to_mlp(), gd.MLP)
    np.testing.assert_array_equal(model.parameters_["W1"], model.coefs_[1])


@pytest.mark.parametrize("name", ["coefs_", "intercepts_", "n_layers_"])
def test_what_is_no_chain_says_so(name):
    model = MLPClassifier(**SETTINGS)
    with pytest.raises(AttributeError, match=f"'MLPClassifier' object has no attribute '{name}'"):
        getattr(model, name)
    model.fit(X, LABELS)
    assert not hasattr(model, name)
    with pytest.raises(AttributeError, match=f"MLPClassifier has no {name}, because .* no chain .* in parameters_"):
        getattr(model, name)
    chain = clone(model).set_params(network=CHAIN).fit(X, LABELS)
    assert getattr(chain, name)
    # The next fit leaves nothing of the one before.
    assert not hasattr(chain.set_params(network=BLOCKS).fit(X, LABELS), name)
    plain = model.set_params(network=None).fit(X, LABELS)
    assert plain.parameters_.keys() == {"W0", "b0", "W1", "b1"}
    assert type(plain.to_mlp()) is gd.MLP


def test_without_a_network_nothing_is_new():
    ours, theirs = (m((6,), max_iter=5, random_state=0).fit(X, LABELS) for m in (MLPClassifier, TheirClassifier))
    for name, array in ours.parameters_.items():
        where = theirs.coefs_ if name[0] == "W" else theirs.intercepts_
        np.testing.assert_allclose(array, where[int(name[1:])], rtol=1e-9)
    assert not hasattr(MLPClassifier(), "parameters_")
    with pytest.raises(NotFittedError):
        MLPClassifier(network=BLOCKS).predict(X)


def test_the_whole_network_is_not_meant():
    whole = b.Sequential(b.Dense(8, "relu"), b.Dense(1))
    with pytest.raises(ValueError, match="ends with a linear layer of 1 unit, as many as there are outputs"):
        MLPRegressor(network=whole).fit(X, NUMBERS)
    MLPRegressor(network=whole, max_iter=1).fit(X, PAIRS)  # a bottleneck


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"hidden_layer_sizes": (50,)}, r"so does hidden_layer_sizes=\(50,\): leave hidden_layer_sizes at \(100,\)"),
        ({"activation": "tanh"}, "so does activation='tanh'"),
        ({"activation": np.tanh}, "so does activation=<ufunc"),
        ({"residual": True}, "so does residual=True"),
        ({"norm": "layer"}, "so does norm='layer'"),
        ({"dropout": 0.5}, "so does dropout=0.5"),
    ],
)
def test_two_descriptions_of_the_hidden_layers_are_refused(settings, told):
    with pytest.raises(ValueError, match=f"network says what comes before the output layer, and {told}"):
        MLPClassifier(network=BLOCKS, **settings).fit(X, LABELS)
    MLPClassifier(network=CHAIN, hidden_layer_sizes=[100], activation="relu", max_iter=1).fit(X, LABELS)


@pytest.mark.parametrize(
    ("network", "told"),
    [
        ("relu", "'network' parameter of MLPRegressor must be"),
        (b.Dense, "'network' parameter of MLPRegressor must be"),
        (b.Residual(b.Dense(3)), "Residual adds its 4 inputs to 3 outputs"),
        (b.PiecewiseLinear(((0, 1),)), "has edges for 1 inputs, and there are 4"),
    ],
)
def test_what_cannot_be_a_network(network, told):
    with pytest.raises(ValueError, match=told):
        MLPRegressor(network=network).fit(X, NUMBERS)


# ---- scikit-learn's ways


def test_parameters_are_those_of_an_estimator(tmp_path):
    model = MLPClassifier(**SETTINGS)
    assert model.get_params()["network"] is BLOCKS
    fresh = clone(model)
    assert fresh.network == BLOCKS
    assert fresh.get_params() == model.get_params()
    assert "TanhGate" in repr(model)
    model.partial_fit(X, LABELS, classes=np.unique(LABELS))
    copies = [pickle.loads(pickle.dumps(model)), copy.deepcopy(model)]
    assert not hasattr(clone(model), "parameters_")
    assert "TanhGate" in model._repr_html_()
    probability = model.predict_proba(X)
    model.partial_fit(X, LABELS)
    for each in copies:
        np.testing.assert_array_equal(each.predict_proba(X), probability)
        each.partial_fit(X, LABELS)
        same(each, model)


def test_what_an_older_version_pickled_has_none_of_these():
    model = MLPClassifier((5,), max_iter=2, random_state=0).fit(X, LABELS)
    state = pickle.loads(pickle.dumps(model)).__getstate__()
    for name in ("network", "residual", "norm", "dropout"):
        del state[name]
    old = MLPClassifier.__new__(MLPClassifier)
    old.__setstate__(state)
    np.testing.assert_array_equal(old.predict_proba(X), model.predict_proba(X))
    assert old.get_params() == model.get_params()
    same(old.fit(X, LABELS), model.fit(X, LABELS))


def test_batches_of_ones_own():
    rows = [slice(0, 40), slice(40, 80), slice(80, 120)]
    wanted = MLPClassifier(**SETTINGS, shuffle=False).fit(X, LABELS)
    same(MLPClassifier(**SETTINGS, shuffle=False).fit([(X[r], LABELS[r]) for r in rows]), wanted)


@pytest.mark.parametrize("solver", ["sgd", "lbfgs"])
def test_weights_of_records(solver):
    rows = np.arange(120) % 3
    # The whole data is a batch of either.
    model = MLPRegressor(**SETTINGS | {"solver": solver, "batch_size": 120, "shuffle": False, "alpha": 0.0})
    weighted, several = clone(model).fit(X, NUMBERS, rows), clone(model).fit(X.repeat(rows, 0), NUMBERS.repeat(rows))
    for name, a in several.parameters_.items():
        np.testing.assert_allclose(weighted.parameters_[name], a, rtol=1e-6, atol=1e-9, err_msg=name)


def test_a_search_over_networks():
    pipeline = make_pipeline(StandardScaler(), MLPRegressor(max_iter=40, random_state=0, learning_rate_init=0.02))
    search = GridSearchCV(pipeline, {"mlpregressor__network": [None, CHAIN, BLOCKS]}, cv=2, error_score="raise")
    search.fit(X, NUMBERS)
    scores = search.cv_results_["mean_test_score"]
    assert len(set(scores)) == 3
    assert "MLPRegressor" in search._repr_html_()


def test_training_goes_on():
    whole = MLPRegressor(**SETTINGS | {"max_iter": 1, "shuffle": False, "warm_start": True})
    parts = clone(whole)
    for _ in range(3):
        parts.partial_fit(X, NUMBERS)
        whole.fit(X, NUMBERS)
    assert parts.loss_ < 0.95 * parts.loss_curve_[0]
    assert len(whole.loss_curve_) == 3
    with pytest.raises(ValueError, match=r"'W0': \(4, 6\).*ask for \{'W0': \(4, 9\).*warm_start=False"):
        whole.set_params(network=b.Sequential(b.Dense(9), b.LayerNorm())).fit(X, NUMBERS)
    before = MLPRegressor(**SETTINGS | {"network": CHAIN, "warm_start": True}).fit(X, NUMBERS)
    with pytest.raises(ValueError, match=r"goes on with layers of \(4, 7, 5, 1\) units, but .* ask for \(4, 3, 1\)"):
        before.set_params(network=b.Dense(3)).fit(X, NUMBERS)
    kept = before.predict(X)
    np.testing.assert_array_equal(before.predict(X), kept)  # another wish is for the next fit
    edges = [b.Sequential(b.PiecewiseLinear(((-1, at, 1),) * 4), b.Dense(3)) for at in (0.0, 0.5)]
    bins = MLPRegressor(**SETTINGS | {"network": edges[0], "warm_start": True}).fit(X, NUMBERS)
    bins.fit(X.astype("float32"), NUMBERS)
    with pytest.raises(ValueError, match="goes on with the constants begin0, scale0 of the block it began with, but"):
        bins.set_params(network=edges[1]).fit(X, NUMBERS)
    # The same arrays, whatever asks for them.
    before.set_params(network=None, hidden_layer_sizes=(7, 5), activation=["tanh", "relu"])
    start = [W.copy() for W in before.coefs_]
    before.set_params(max_iter=1, learning_rate_init=1e-300).fit(X, NUMBERS)
    for W, wanted in zip(before.coefs_, start, strict=True):
        np.testing.assert_array_equal(W, wanted)


@pytest.mark.parametrize("scoring", [None, "loss", "neg_mean_absolute_error"])
def test_early_stopping_keeps_the_best(scoring):
    settings = SETTINGS | {"max_iter": 60, "early_stopping": True, "scoring": scoring, "learning_rate_init": 0.1}
    model = MLPRegressor(**settings).fit(X[:90], NUMBERS[:90], X_val=X[90:], y_val=NUMBERS[90:])
    best = max(model.validation_scores_)
    assert best == model.best_validation_score_ > model.validation_scores_[-1]
    found = {
        None: model.score(X[90:], NUMBERS[90:]),
        "loss": -0.5 * np.mean((model.predict(X[90:]) - NUMBERS[90:]) ** 2),
        "neg_mean_absolute_error": -np.mean(np.abs(model.predict(X[90:]) - NUMBERS[90:])),
    }[scoring]
    assert found == pytest.approx(best, rel=1e-6)


def test_arrays_can_be_changed_where_they_are():
    model = MLPRegressor(**SETTINGS).fit(X, NUMBERS)
    before = model.predict(X)
    model.parameters_["b4"][...] += 1.0
    np.testing.assert_allclose(model.predict(X), before + 1.0, rtol=1e-9)
    with pytest.raises(TypeError, match="does not support item assignment"):
        model.parameters_["b4"] = np.zeros(1)  # nothing would become of it


# ---- scikit-learn's common checks


def cases():
    small = b.Sequential(b.Dense(5, "relu"), b.Residual(b.LayerNorm(), b.Dense(5, "tanh")))
    for kind in (MLPClassifier, MLPRegressor):
        for settings in ({"solver": "adam", "learning_rate_init": 0.05, "max_iter": 30}, {"solver": "lbfgs"}):
            estimator = kind(network=small, **{"max_iter": 15} | settings)
            for each, check in estimator_checks_generator(estimator):
                name = getattr(check, "func", check).__name__
                if "array_api" not in name:  # as in test_checks.py
                    yield pytest.param(each, check, id=f"{kind.__name__}-{settings['solver']}-{name}")


@pytest.mark.parametrize(("estimator", "check"), list(cases()))
def test_common_checks(estimator, check):
    check(estimator)
