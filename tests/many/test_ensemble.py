"""`gd.Ensemble`: the mean of what models predict, chosen greedily, and as one network."""

import numpy as np
import pytest

import gdkernels as gd
from gdkernels.errors import InputError

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


@pytest.mark.parametrize(
    ("models", "said"),
    [
        ([], "at least one"),
        (["x"], "at least one"),
        ([gd.MLP([4, 2]), gd.MLP([4, 3])], "4 → 2, 4 → 3"),
        ([gd.MLP([4, 2]), gd.MLP([3, 2])], "3 → 2, 4 → 2"),
    ],
)
def test_models_that_do_not_fit_are_refused(models, said):
    with pytest.raises(InputError, match=said):
        gd.Ensemble(models)


def test_classes_beside_numbers_are_refused():
    with pytest.raises(InputError, match="all tell classes, or none"):
        gd.Ensemble([trained("cross_entropy", 1, (CLASSES > 0).astype(int), 1)[0], trained(count=1)[0]])


def test_data_without_a_finite_loss_are_refused():
    with pytest.raises(InputError, match="finite loss"):
        gd.Ensemble.selected(trained(count=1), X, np.full_like(Y, np.nan))
