"""Weights of scikit-learn and PyTorch give the outputs that they gave there."""

import numpy as np
import pytest
from safetensors.numpy import save_file
from sklearn.neural_network import MLPClassifier, MLPRegressor

import gdkernels as gd

X = np.random.default_rng(0).normal(size=(60, 4))


def fitted(kind, y, **settings):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return kind(hidden_layer_sizes=(6, 5), max_iter=5, random_state=0, **settings).fit(X, y)


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
def test_regressor(activation):
    estimator = fitted(MLPRegressor, X[:, :2] ** 2, activation=activation)
    mlp = gd.from_sklearn(estimator, backend="numpy")
    assert mlp.precision == "float64"
    np.testing.assert_allclose(mlp.predict(X), estimator.predict(X), rtol=1e-12)


def test_rates():
    estimator = fitted(MLPRegressor, np.abs(X[:, 0]), loss="poisson")
    np.testing.assert_allclose(gd.from_sklearn(estimator).predict(X)[:, 0], estimator.predict(X), rtol=1e-12)


@pytest.mark.parametrize("classes", [2, 3])
def test_classifier(classes):
    estimator = fitted(MLPClassifier, np.array(["u", "v", "w"])[np.arange(60) % classes])
    mlp = gd.from_sklearn(estimator, backend="numpy")
    expected = estimator.predict_proba(X)
    np.testing.assert_allclose(mlp.predict_proba(X), expected[:, 1:] if classes == 2 else expected, rtol=1e-12)
    assert estimator.classes_[mlp.predict(X)].tolist() == estimator.predict(X).tolist()


def test_several_labels():
    estimator = fitted(MLPClassifier, (X[:, :3] > 0).astype(int))
    mlp = gd.from_sklearn(estimator, backend="numpy")
    np.testing.assert_array_equal(mlp.predict(X), estimator.predict(X))


def test_single_precision_and_settings():
    estimator = fitted(MLPRegressor, X[:, 0])
    mlp = gd.from_sklearn(estimator, precision="float32", seed=5, backend="numpy")
    assert (mlp.precision, mlp.seed) == ("float32", 5)
    np.testing.assert_allclose(mlp.predict(X)[:, 0], estimator.predict(X), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("estimator", [MLPRegressor(), object()])
def test_what_is_no_fitted_network(estimator):
    with pytest.raises(gd.InputError, match="fitted MLPClassifier or MLPRegressor"):
        gd.from_sklearn(estimator)


# ---- PyTorch


def linear(*sizes, bias=True, dtype=np.float32, prefix=""):
    """Return the state of an ``nn.Sequential`` of Linear layers with activations between them."""
    draw = np.random.default_rng(1)
    state = {}
    for k in range(len(sizes) - 1):
        state[f"{prefix}{2 * k}.weight"] = draw.normal(size=(sizes[k + 1], sizes[k])).astype(dtype)
        if bias:
            state[f"{prefix}{2 * k}.bias"] = draw.normal(size=sizes[k + 1]).astype(dtype)
    return state


@pytest.mark.parametrize("bias", [True, False])
def test_sequential(tmp_path, bias):
    state = linear(4, *[3] * 11, 2, bias=bias, dtype=np.float64)  # so many layers that 10 comes before 2 as text
    save_file(state, tmp_path / "w")
    expected = X
    for k in range(12):
        expected = expected @ state[f"{2 * k}.weight"].T + (state[f"{2 * k}.bias"] if bias else 0)
        expected = np.tanh(expected) if k < 11 else expected
    mlp = gd.from_torch(tmp_path / "w", activation="tanh", backend="numpy")
    assert (mlp.precision, mlp.bias) == ("float64", bias)
    np.testing.assert_allclose(mlp.predict(X), expected, rtol=1e-12)


def test_by_torch_itself(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file as save_tensors

    model = torch.nn.Sequential(torch.nn.Linear(4, 7), torch.nn.GELU(approximate="tanh"), torch.nn.Linear(7, 2))
    save_tensors(model.state_dict(), tmp_path / "w")
    x = X.astype(np.float32)
    mlp = gd.from_torch(tmp_path / "w", activation="gelu", backend="numpy")
    np.testing.assert_allclose(mlp.predict(x), model(torch.from_numpy(x)).detach().numpy(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "pattern"),
    [
        ({"0.running_mean": np.zeros(3, np.float32)}, "'0.running_mean' float32 .* is not of a Linear layer"),
        ({"0.weight": np.zeros((3, 4, 5), np.float32)}, "is not of a Linear layer"),
        ({"0.weight": np.zeros((3, 4), np.int64)}, "is not of a Linear layer"),
        ({"0.weight": None}, "each layer needs a weight"),
        ({"0.bias": None}, "all of them a bias or none"),
        ({"2.weight": np.zeros((2, 9), np.float32)}, "layer 0 has 3 outputs, but layer 1 takes 9 inputs"),
    ],
)
def test_other_tensors_are_refused(tmp_path, changes, pattern):
    state = {k: v for k, v in (linear(4, 3, 2) | changes).items() if v is not None}
    save_file(state, tmp_path / "w")
    with pytest.raises(gd.InputError, match=pattern):
        gd.from_torch(tmp_path / "w")


@pytest.mark.parametrize("content", [b"", b"not a file of weights", None])
def test_files_that_cannot_be_read(tmp_path, content):
    if content is not None:
        (tmp_path / "w").write_bytes(content)
    with pytest.raises(gd.FileError, match="cannot read the weights"):
        gd.from_torch(tmp_path / "w")


def test_a_file_takes_no_objects(tmp_path):
    save_file(linear(4, 3, 2), tmp_path / "w")
    with pytest.raises(gd.InputError, match="objects are of a module"):
        gd.from_torch(tmp_path / "w", objects={})


def test_neither_a_module_nor_a_file():
    for given in (None, {"0.weight": X}, MLPRegressor()):
        with pytest.raises(gd.InputError, match=f"takes an nn.Sequential or the path .*, got {type(given).__name__}"):
            gd.from_torch(given)
