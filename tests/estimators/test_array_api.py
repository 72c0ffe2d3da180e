"""Arrays of other libraries: what comes out lives where X lives, and predictions copy nothing to the host."""

import os
import subprocess
import sys

import array_api_strict
import numpy as np
import pytest

import gdkernels as gd
from gdkernels.dispatch.array_api import NativeBackend
from gdkernels.estimators import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(1)
X = RNG.standard_normal((60, 4)).astype(np.float32)
LABELS = (X[:, 0] > 0).astype(np.int64) + (X[:, 1] > 0)
NUMBERS = X[:, 0] * X[:, 1]
SETTINGS = {"hidden_layer_sizes": (6,), "max_iter": 5, "random_state": 0}
DEVICES = [array_api_strict.Device("CPU_DEVICE"), array_api_strict.Device("device1")]


def strict(a, device):
    return array_api_strict.asarray(a, device=device)


def host(a, device):
    assert type(a) is type(strict(np.zeros(1), device))
    assert a.device == device
    return np.asarray(a.to_device(DEVICES[0]))


@pytest.mark.parametrize("device", DEVICES, ids=str)
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_networks_of_blocks(device, solver):
    b = gd.blocks
    network = b.Sequential(b.Dense(5, "tanh"), b.Residual(b.LayerNorm(), b.Dense(5)), b.Periodic(2))
    there, here = (MLPRegressor(network=network, max_iter=5, random_state=0, solver=solver) for _ in range(2))
    there.fit(strict(X, device), strict(NUMBERS, device))
    here.fit(X, NUMBERS)
    assert list(there.parameters_) == list(here.parameters_)
    for name, array in there.parameters_.items():
        np.testing.assert_allclose(host(array, device), here.parameters_[name], rtol=2e-3, atol=1e-4, err_msg=name)
    np.testing.assert_allclose(host(there.predict(strict(X, device)), device), here.predict(X), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(there.to_mlp().predict(X)[:, 0], here.predict(X), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("device", DEVICES, ids=str)
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_classifier(device, solver, monkeypatch):
    there, here = (MLPClassifier(**SETTINGS, solver=solver) for _ in range(2))
    x = strict(X, device)
    there.fit(x, strict(LABELS, device))
    here.fit(X, LABELS)
    np.testing.assert_allclose(host(there.coefs_[0], device), here.coefs_[0], rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(host(there.classes_, device), [0, 1, 2])
    assert there.score(x, strict(LABELS, device)) == here.score(X, LABELS)
    np.testing.assert_allclose(there.loss_curve_, here.loss_curve_, rtol=1e-4)

    def copied(self, a):
        raise AssertionError("copied to the host")

    if device == DEVICES[1]:
        monkeypatch.setattr(NativeBackend, "to_numpy", copied)
        assert there._live.model.backend == "array-api"
    labels, probabilities = there.predict(x), there.predict_proba(x)
    monkeypatch.undo()
    np.testing.assert_array_equal(host(labels, device), here.predict(X))
    np.testing.assert_allclose(host(probabilities, device), here.predict_proba(X), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        host(there.predict_log_proba(x), device), here.predict_log_proba(X), rtol=1e-3, atol=1e-5
    )
    with pytest.raises(ValueError, match="X has 3 features, but MLPClassifier is expecting 4"):
        there.predict(x[:, :3])


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_regressor_with_weights_and_early_stopping(device):
    weights = np.random.default_rng(2).uniform(0.5, 2.0, 60).astype(np.float32)
    there, here = (MLPRegressor(**SETTINGS, early_stopping=True) for _ in range(2))
    there.fit(strict(X, device), strict(NUMBERS, device), strict(weights, device))
    here.fit(X, NUMBERS, weights)
    np.testing.assert_allclose(there.validation_scores_, here.validation_scores_, rtol=1e-4)
    np.testing.assert_allclose(host(there.predict(strict(X, device)), device), here.predict(X), rtol=1e-3, atol=1e-5)
    assert there.score(strict(X, device), strict(NUMBERS, device)) == pytest.approx(here.score(X, NUMBERS), abs=1e-4)
    again = MLPRegressor(**SETTINGS)
    for _ in range(2):
        again.partial_fit(strict(X, device), strict(NUMBERS, device))
    assert host(again.intercepts_[0], device).shape == (6,)


def test_labels_from_the_host_and_several_of_them():
    device = DEVICES[1]
    several = np.stack([X[:, 0] > 0, X[:, 1] > 0], axis=1).astype(np.int64)
    model = MLPClassifier(**SETTINGS).fit(strict(X, device), strict(several, device))
    assert set(np.unique(host(model.predict(strict(X, device)), device))) <= {0, 1}
    model = MLPClassifier(**SETTINGS, class_weight="balanced").fit(strict(X, device), LABELS.tolist())
    assert host(model.predict(strict(X, device)), device).shape == (60,)
    assert isinstance(model.predict(X), np.ndarray)
    named = MLPClassifier(**SETTINGS).fit(strict(X, device), np.asarray(["no", "yes", "so"])[LABELS])
    with pytest.raises(ValueError, match="use predict_proba, or train on numbers"):
        named.predict(strict(X, device))
    np.testing.assert_array_equal(np.sort(np.unique(named.predict(X))), np.unique(named.predict(X)))


@pytest.mark.parametrize("library", ["torch", "jax.numpy"])
def test_other_libraries_on_the_cpu_train_compiled(library):
    convert = pytest.importorskip(library).asarray
    there, here = MLPRegressor(**SETTINGS).fit(convert(X), convert(NUMBERS)), MLPRegressor(**SETTINGS).fit(X, NUMBERS)
    assert type(there.coefs_[0]) is type(there.predict(convert(X))) is type(convert(X))
    np.testing.assert_array_equal(np.asarray(there.predict(convert(X))), here.predict(X))
    assert there._live.model.backend == here._live.model.backend != "array-api"


def test_a_network_finds_its_data_wherever_it_is():
    x, y = strict(X, DEVICES[1]), strict(NUMBERS, DEVICES[1])
    mlp = gd.MLP([4, 6, 1], seed=0)
    history = mlp.fit(x, y, epochs=2, validation=0.2, metrics=["r2"])
    assert (history.backend, history.origin) == ("array-api", "definition")
    assert "which no other backend reaches" in history.reason
    assert host(mlp.predict(x), DEVICES[1]).shape == (60, 1)
    with pytest.raises(gd.InputError, match="cannot be read as an array"):
        gd.MLP([4, 6, 1], backend="numpy").fit(x, y, epochs=1)


CHECKS = """
import contextlib, unittest, warnings; warnings.simplefilter("ignore")
from sklearn.utils.estimator_checks import estimator_checks_generator
from gdkernels import estimators

MLPClassifier, MLPRegressor = estimators.MLPClassifier, estimators.MLPRegressor
done = 0
for model in (MLPClassifier(max_iter=20), MLPRegressor(max_iter=20)):
    for estimator, check in estimator_checks_generator(model):
        # That predict refuses arrays of another library is asked for, too; ours answers in the place of X.
        if "array_api" in str(check) and "strict" in str(check) and "same_namespace" not in str(check):
            with contextlib.suppress(unittest.SkipTest):  # those of mixed inputs want torch as well
                check(estimator)
                done += 1
print(done)
"""


def test_common_checks_with_the_switch_of_scikit_learn():
    # The switch is an environment variable that has to be set before SciPy is imported.
    environment = os.environ | {"SCIPY_ARRAY_API": "1"}
    run = subprocess.run([sys.executable, "-c", CHECKS], env=environment, check=False, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) >= 4
