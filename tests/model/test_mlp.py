"""MLP: construction, parameters, predictions, targets, files."""

import numpy as np
import pytest

import gdkernels as gd
from gdkernels.definition.activations import exp, sigmoid, softmax

RNG = np.random.default_rng(1)
X = RNG.standard_normal((60, 4))
LABELS = (X[:, 0] + X[:, 1] > 0).astype(int) + (X[:, 2] > 0)


def mish(z, *, xp):
    return z * xp.tanh(xp.logaddexp(z, 0.0))


def test_sizes_names_and_numbers_that_cannot_be_are_refused():
    for sizes in ([3], [], [3, 0, 1], [3, 2.5], [True, 2], 7):
        with pytest.raises(gd.InputError, match="sizes"):
            gd.MLP(sizes)
    with pytest.raises(gd.InputError, match="Did you mean 'relu'"):
        gd.MLP([3, 2, 1], activation="rleu")
    with pytest.raises(gd.InputError, match="2 activations given for 1 hidden"):
        gd.MLP([3, 2, 1], activation=["relu", "tanh"])
    with pytest.raises(gd.InputError, match="float16"):
        gd.MLP([3, 1], precision="float16")
    with pytest.raises(gd.InputError, match="seed"):
        gd.MLP([3, 1], seed=-1)
    with pytest.raises(gd.InputError, match="unknown backend 'nunpy'"):
        gd.MLP([3, 1], backend="nunpy")
    with pytest.raises(gd.BackendError, match="cannot do precision 'bfloat16'"):
        gd.MLP([3, 1], backend="numpy", precision="bfloat16")
    with pytest.raises(gd.BackendError, match="has no device 'cuda:7'"):
        gd.MLP([3, 1], backend="numpy", device="cuda:7")


def test_until_bound_the_parameters_are_on_the_host_and_then_follow_the_precision():
    mlp = gd.MLP([4, 3, 2], seed=0, precision=None)
    assert mlp.backend == "auto"
    assert mlp.precision is None
    assert mlp.parameters[0].W.dtype == np.float64
    mlp.predict(X)
    assert mlp.precision == "float64"
    single = gd.MLP([4, 3, 2], seed=0, precision=None, backend="numpy")
    assert single.predict(X.astype(np.float32)).dtype == np.float32
    assert single.precision == "float32"
    assert "numpy on cpu in float32" in repr(single)
    assert gd.MLP([4, 3, 2]).seed != gd.MLP([4, 3, 2]).seed


def test_parameters_are_copies_and_round_trip():
    mlp = gd.MLP([4, 3, 2], seed=0, backend="numpy")
    taken = mlp.parameters
    taken[0].W[...] = 7.0
    assert not np.any(mlp.parameters[0].W == 7.0)
    mlp.set_parameters(taken)
    assert np.all(mlp.parameters[0].W == 7.0)
    mlp.predict(X)
    mlp.set_parameters(taken)
    taken[0].W[...] = 8.0
    assert np.all(mlp.parameters[0].W == 7.0)
    with pytest.raises(gd.InputError, match="1 layers given"):
        mlp.set_parameters(taken[:1])
    with pytest.raises(gd.InputError, match=r"layer 1 have the shapes \[\(2, 3\)"):
        mlp.set_parameters([taken[0], (np.ones((2, 3)), np.ones(2))])
    with pytest.raises(gd.InputError, match="nan"):
        mlp.set_parameters([taken[0], (np.full((3, 2), np.nan), np.ones(2))])


def test_gradient_is_that_of_loss():
    mlp = gd.MLP([4, 3, 2], activation="tanh", seed=0, precision="float64", backend="numpy")
    Y = X[:, :2] ** 2
    for reduction in ("mean", "sum"):
        slope = mlp.gradient(X, Y, reduction=reduction)[0].W[1, 2]
        losses = []
        for h in (1e-6, -1e-6):
            moved = mlp.parameters
            moved[0].W[1, 2] += h
            other = gd.MLP([4, 3, 2], activation="tanh", precision="float64", backend="numpy")
            other.set_parameters(moved)
            losses.append(other.loss(X, Y, reduction=reduction))
        assert slope == pytest.approx((losses[0] - losses[1]) / 2e-6, rel=1e-6)


def test_an_unknown_reduction_is_refused():
    mlp = gd.MLP([4, 2], backend="numpy")
    for question in (mlp.loss, mlp.gradient):
        with pytest.raises(gd.InputError, match="Did you mean 'mean'"):
            question(X, X[:, :2], reduction="meen")


def test_classes_as_indices_or_one_hot_train_alike():
    by_index, by_column = (gd.MLP([4, 8, 3], seed=0, backend="numpy") for _ in range(2))
    by_index.fit(X, LABELS, epochs=5, loss="cross_entropy")
    by_column.fit(X, np.eye(3)[LABELS], epochs=5, loss="cross_entropy")
    assert np.array_equal(by_index.parameters[0].W, by_column.parameters[0].W)
    assert by_index.output is softmax
    probability = by_index.predict_proba(X)
    np.testing.assert_allclose(probability.sum(axis=1), 1, rtol=1e-6)
    assert np.array_equal(by_index.predict(X), np.argmax(probability, axis=1))
    given = np.log(probability[np.arange(60), LABELS])
    assert by_index.loss(X, LABELS) == pytest.approx(-given.mean(), rel=1e-5)


def test_softmax_output_with_cross_entropy_means_the_same_thing():
    plain, named = (gd.MLP([4, 8, 3], seed=0, backend="numpy", output=o) for o in ("identity", "softmax"))
    for mlp in (plain, named):
        mlp.set_parameters(gd.MLP([4, 8, 3], seed=9).parameters)
        mlp.fit(X, LABELS, epochs=3, loss="cross_entropy")
    assert np.array_equal(plain.parameters[1].W, named.parameters[1].W)
    assert np.array_equal(plain.predict_proba(X), named.predict_proba(X))
    with pytest.raises(gd.InputError, match="takes logits"):
        gd.Trainer(gd.MLP([4, 3], output="tanh"), loss="cross_entropy")


def test_one_output_is_binary_and_several_may_be_yes_or_no_each():
    binary = gd.MLP([4, 8, 1], seed=0, backend="numpy")
    yes = (X[:, 0] > 0).astype(int)
    binary.fit(X, yes, epochs=60, loss="cross_entropy", optimizer=gd.Adam(0.02))
    assert binary.output is sigmoid
    assert binary.predict(X).shape == (60,)
    assert np.mean(binary.predict(X) == yes) > 0.95
    labels = (X[:, :2] > 0).astype(int)
    several = gd.MLP([4, 8, 2], seed=0, backend="numpy")
    history = several.fit(
        X, labels, epochs=60, loss="binary_cross_entropy", optimizer=gd.Adam(0.02), metrics=["accuracy"]
    )
    assert several.predict(X).shape == (60, 2)
    assert history.epochs[-1].metrics["accuracy"] == np.mean(np.all(several.predict(X) == labels, axis=1)) > 0.8


def test_poisson_sets_the_output_to_exp():
    mlp = gd.MLP([4, 1], seed=0, backend="numpy", precision="float64")
    rate = np.exp(0.5 * X[:, 0] - 0.2)
    mlp.fit(X, rate, epochs=600, loss="poisson", optimizer=gd.SGD(0.2), batch_size=60)
    assert mlp.output is exp
    np.testing.assert_allclose(mlp.predict(X)[:, 0], rate, rtol=1e-4)
    with pytest.raises(gd.InputError, match="at least 0"):
        mlp.fit(X, -rate, epochs=1, loss="poisson")


@pytest.mark.parametrize(
    ("x", "y", "outputs", "loss", "message"),
    [
        (X[:, :3], X[:, 0], 1, "sse", "4 inputs"),
        (X[0], X[:, 0], 1, "sse", "4 inputs"),
        (X[:0], X[:0, 0], 1, "sse", "no rows"),
        (X, X[:5, 0], 1, "sse", "X has 60 rows"),
        (X, X[:, 0], 2, "sse", "2 outputs"),
        (X, X[:, :2], 1, "sse", "1 outputs"),
        (X, np.where(X[:, 0] > 2, np.inf, X[:, 0]), 1, "sse", "Y holds inf in row"),
        (np.where(X > 2, np.nan, X), X[:, 0], 1, "sse", "X holds nan in row"),
        ([["a"] * 4] * 60, X[:, 0], 1, "sse", "not real numbers"),
        ([[1.0, 2.0], [3.0]], [1.0, 2.0], 1, "sse", "cannot be read as an array"),
        (X.astype(complex), X[:, 0], 1, "sse", "complex128"),
        (np.float32(1), X[:, 0], 1, "sse", r"X has the shape \(\)"),
        (np.ma.masked_greater(X, 2), X[:, 0], 1, "sse", r"X has \d+ masked values, first at \[\d+, \d\]; fill them in"),
        (X, np.ma.masked_less(X[:, 0], 0), 1, "sse", r"Y has \d+ masked values"),
        (X, LABELS + 1, 3, "cross_entropy", "Y holds 3 in row"),
        (X, LABELS + 0.5, 3, "cross_entropy", "whole numbers from 0 to 2"),
        (X, np.ones((60, 3)), 3, "cross_entropy", "binary_cross_entropy"),
        (X, 2.0 * np.eye(3)[LABELS], 3, "cross_entropy", "between 0 and 1"),
        (X, LABELS, 1, "cross_entropy", "between 0 and 1"),
    ],
)
def test_data_that_does_not_fit_is_refused(x, y, outputs, loss, message):
    with pytest.raises(gd.InputError, match=message):
        gd.MLP([4, 3, outputs], backend="numpy").fit(x, y, epochs=1, loss=loss)


def test_predict_proba_needs_a_classifier():
    with pytest.raises(gd.InputError, match="cross_entropy"):
        gd.MLP([4, 3]).predict_proba(X)


def test_data_is_not_changed_and_may_be_read_only():
    x, y = X.astype(np.float32), X[:, :1].astype(np.float32)
    x.setflags(write=False)
    y.setflags(write=False)
    gd.MLP([4, 8, 1], backend="numpy").fit(x, y, epochs=2)
    assert np.array_equal(x, X.astype(np.float32))


@pytest.mark.parametrize("library", ["torch", "jax.numpy", "array_api_strict"])
def test_what_comes_out_is_of_the_kind_of_what_went_in(library):
    xp = pytest.importorskip(library)
    mlp = gd.MLP([4, 8, 2], seed=0, backend="numpy")
    x, y = xp.asarray(X.astype(np.float32)), xp.asarray(X[:, :2].astype(np.float32))
    mlp.fit(x, y, epochs=1)
    result = mlp.predict(x)
    assert type(result) is type(x)
    np.testing.assert_array_equal(np.asarray(result), mlp.predict(X.astype(np.float32)))


def test_large_predictions_in_parts_equal_those_in_one(monkeypatch):
    import gdkernels.backend.definition_executable

    mlp = gd.MLP([4, 8, 2], seed=0, backend="numpy", precision="float64")
    whole = mlp.predict(X)
    monkeypatch.setattr(gdkernels.backend.definition_executable, "_ON_THE_HOST", 56)  # seven rows of the widest layer
    np.testing.assert_allclose(mlp.predict(X), whole, rtol=1e-13)


def test_save_and_load_predict_the_same(tmp_path):
    path = tmp_path / "m.safetensors"
    mlp = gd.MLP([4, 8, 5, 3], activation=[gd.activations.LeakyReLU(0.2), mish], seed=0, backend="numpy")
    mlp.fit(X, LABELS, epochs=3, loss="cross_entropy")
    mlp.extra["columns"] = ["a", "b"]
    mlp.save(path)
    with pytest.raises(gd.FileError, match="exists"):
        mlp.save(path)
    mlp.save(path, overwrite=True)
    with pytest.raises(gd.InputError, match=r"objects=\{'mish': mish\}"):
        gd.load(path)
    loaded = gd.load(path, objects={"mish": mish}, backend="numpy")
    assert np.array_equal(loaded.predict_proba(X), mlp.predict_proba(X))
    assert np.array_equal(loaded.predict(X), mlp.predict(X))
    assert loaded.loss(X, LABELS) == mlp.loss(X, LABELS)
    assert (loaded.seed, loaded.extra, loaded.activations) == (0, {"columns": ["a", "b"]}, mlp.activations)


def test_moving_there_and_back_keeps_the_bits():
    mlp = gd.MLP([4, 8, 2], seed=0)
    mlp.fit(X, X[:, :2], epochs=1)
    before = mlp.parameters
    assert mlp.to("cpu", backend="numpy") is mlp
    mlp.fit(X, X[:, :2], epochs=1)
    assert mlp.to("cpu").backend == "numpy"
    with pytest.raises(gd.BackendError, match="cuda:9"):
        mlp.to("cuda:9")
    assert mlp.parameters[0].W.shape == before[0].W.shape
