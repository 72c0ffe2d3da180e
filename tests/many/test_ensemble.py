"""`gd.Ensemble`: the mean of what models predict, chosen greedily, and as one network."""

import numpy as np
import pytest

import gdkernels as gd
from gdkernels.errors import FileError, InputError

RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((200, 4)).astype(np.float32)
Y = np.sin(X[:, :1]) + 0.3 * RANDOM.standard_normal((200, 1))
CLASSES = (X[:, 0] + X[:, 1] > 0).astype(int) + (X[:, 2] > 1)


def trained(loss="sse", outputs=1, targets=Y, count=4):
    models = [gd.MLP([4, 8 + k, outputs], seed=k, backend="numba") for k in range(count)]
    gd.fit_many(models, X[:100], targets[:100], epochs=10, settings={"loss": loss})
    return models


def test_numbers_are_averaged():
    models = trained()
    wanted = np.mean([m.predict(X) for m in models], axis=0)
    np.testing.assert_allclose(gd.Ensemble(models).predict(X), wanted, rtol=1e-5, atol=1e-6)
    twice = gd.Ensemble([models[0], models[0], models[1]])
    np.testing.assert_allclose(twice.predict(X), (2 * models[0].predict(X) + models[1].predict(X)) / 3, atol=1e-6)
    with pytest.raises(InputError, match="cross-entropy"):
        gd.Ensemble(models).predict_proba(X)


def test_probabilities_are_averaged():
    models = trained("cross_entropy", 3, CLASSES)
    ensemble = gd.Ensemble(models)
    wanted = np.mean([m.predict_proba(X) for m in models], axis=0)
    np.testing.assert_allclose(ensemble.predict_proba(X), wanted, rtol=1e-5)
    assert np.array_equal(ensemble.predict(X), wanted.argmax(axis=1))
    two = gd.Ensemble(trained("cross_entropy", 1, (CLASSES > 0).astype(int)))
    assert np.array_equal(two.predict(X), (two.predict_proba(X)[:, 0] > 0.5).astype(int))


@pytest.mark.parametrize("loss", ["sse", "cross_entropy"])
def test_a_greedy_choice_is_at_least_as_good_as_the_best_model(loss):
    models = trained() if loss == "sse" else trained("cross_entropy", 3, CLASSES)
    targets = Y if loss == "sse" else CLASSES

    def measured(outputs):
        if loss == "sse":
            return np.mean((outputs - targets[100:]) ** 2)
        return -np.mean(np.log(outputs[np.arange(100), targets[100:]]))

    def outputs(model):
        return model.predict(X[100:]) if loss == "sse" else model.predict_proba(X[100:])

    chosen = gd.Ensemble.selected(models, X[100:], targets[100:], size=10)
    assert 1 <= len(chosen.models) <= 10
    assert measured(outputs(chosen)) <= min(measured(outputs(m)) for m in models) + 1e-7
    worst = gd.Ensemble.selected(models, X[100:], targets[100:], loss=lambda t, mean: -measured(mean), size=1)
    assert worst.models[0] is max(models, key=lambda m: measured(outputs(m)))


def test_it_is_a_network_that_is_saved(tmp_path):
    ensemble = gd.Ensemble(trained("cross_entropy", 3, CLASSES))
    network = ensemble.network()
    np.testing.assert_allclose(network.predict(X), ensemble.predict_proba(X), rtol=1e-5, atol=1e-6)
    network.save(tmp_path / "e.gd")
    np.testing.assert_allclose(gd.load(tmp_path / "e.gd").predict(X), network.predict(X), rtol=1e-6)


@pytest.mark.parametrize("loss", ["sse", "cross_entropy"])
def test_it_is_saved_and_loaded(tmp_path, loss):
    models = trained() if loss == "sse" else trained("cross_entropy", 3, CLASSES)
    ensemble = gd.Ensemble([models[0], models[2], models[0], models[3]])
    ensemble.save(tmp_path / "e.gd")
    loaded = gd.Ensemble.load(tmp_path / "e.gd")
    assert loaded.models[0] is loaded.models[2]
    assert len(set(map(id, loaded.models))) == 3
    np.testing.assert_allclose(loaded.predict(X), ensemble.predict(X), rtol=1e-6)
    if loss == "cross_entropy":
        np.testing.assert_allclose(loaded.predict_proba(X), ensemble.predict_proba(X), rtol=1e-6)
    whole = gd.load(tmp_path / "e.gd")
    np.testing.assert_allclose(whole.predict(X), ensemble.network().predict(X), rtol=1e-6)
    models[0].save(tmp_path / "one.gd")
    with pytest.raises(FileError, match="holds no ensemble"):
        gd.Ensemble.load(tmp_path / "one.gd")


def run_onnx(path):
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"x": X}), strict=True))


def operations(path):
    return [node.op_type for node in pytest.importorskip("onnx").load(path).graph.node]


@pytest.mark.parametrize("make", ["plain", "normed", "encoded"])
def test_models_of_one_shape_stand_side_by_side_in_onnx(tmp_path, make):
    makers = {
        "plain": lambda k: gd.MLP([4, 8, 8, 3], seed=k, backend="numba"),
        "normed": lambda k: gd.MLP([4, 8, 8, 3], residual=True, norm="layer", seed=k, backend="numba"),
        "encoded": lambda k: gd.Network(
            gd.blocks.Columns([(range(4), gd.blocks.Dense(6, "tanh")), ([0], "passthrough")]), 4, seed=k
        ),
    }
    if make == "encoded":
        models = [
            gd.Network(gd.blocks.Sequential(m.block, gd.blocks.Dense(3)), 4, seed=k)
            for k, m in enumerate([makers[make](0)] * 3)
        ]
    else:
        models = [makers[make](k) for k in range(3)]
    other = gd.MLP([4, 5, 3], seed=9)
    gd.fit_many([*models, other], X, CLASSES, epochs=3, settings={"loss": "cross_entropy"})
    ensemble = gd.Ensemble([*models, models[0], other])
    ensemble.export_onnx(tmp_path / "e.onnx")
    models[0].export_onnx(tmp_path / "one.onnx")
    found = run_onnx(tmp_path / "e.onnx")
    np.testing.assert_allclose(found["probabilities"], ensemble.predict_proba(X), rtol=1e-4, atol=1e-6)
    assert np.array_equal(found["label"], ensemble.predict(X))
    products = [operations(tmp_path / name).count("MatMul") for name in ("e.onnx", "one.onnx")]
    alone = 3 if make == "encoded" else 1  # columns are picked one network after the other
    assert products[0] == alone * products[1] + 2


def test_an_ensemble_of_numbers_in_onnx(tmp_path):
    ensemble = gd.Ensemble(trained())
    ensemble.export_onnx(tmp_path / "e.onnx")
    np.testing.assert_allclose(run_onnx(tmp_path / "e.onnx")["prediction"], ensemble.predict(X), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("models", "said"),
    [
        ([], "at least one"),
        (["x"], "at least one"),
        (None, "takes a list of models"),
        (gd.MLP([4, 2]), "takes a list of models, got MLP"),
        ([gd.MLP([4, 2]), gd.MLP([4, 3])], "4 → 2, 4 → 3"),
        ([gd.MLP([4, 2]), gd.MLP([3, 2])], "3 → 2, 4 → 2"),
    ],
)
def test_models_that_do_not_fit_are_refused(models, said):
    with pytest.raises(InputError, match=said):
        gd.Ensemble(models)


def test_classes_beside_numbers_are_refused():
    with pytest.raises(InputError, match="must all be classifiers, or none"):
        gd.Ensemble([trained("cross_entropy", 1, (CLASSES > 0).astype(int), 1)[0], trained(count=1)[0]])


def test_data_without_a_finite_loss_are_refused():
    with pytest.raises(InputError, match="finite loss"):
        gd.Ensemble.selected(trained(count=1), X, np.full_like(Y, np.nan))
