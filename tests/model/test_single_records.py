"""Predictions of one record: what does not depend on the record is found out once, and every check is still made."""

import numpy as np
import pytest
from gdkernels_numba.bytecode import bound_step

import gdkernels as gd
from gdkernels.backend.program import Program

ONE = np.array([[0.5, -1.0, 2.0]], np.float32)


def network(backend):
    X = np.random.default_rng(0).standard_normal((64, 3)).astype(np.float32)
    mlp = gd.MLP([3, 8, 2], activation="tanh", seed=0, backend=backend)
    mlp.fit(X, X[:, :2], epochs=1, progress=False)
    return mlp


def by_hand(mlp, x):
    (W, b), (V, c) = mlp.parameters
    return np.tanh(x @ W + b) @ V + c


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_a_second_prediction_finds_all_but_the_record_as_it_was(backend, monkeypatch):
    mlp = network(backend)
    first = mlp.predict(ONE)

    def again(*_, **__):
        raise AssertionError("this was known")

    monkeypatch.setattr(Program, "__hash__", again)
    monkeypatch.setattr(Program, "__init__", again)
    monkeypatch.setattr(bound_step.ScalarTable, "values", again)
    monkeypatch.setattr(bound_step, "partial", again)
    np.testing.assert_array_equal(mlp.predict(ONE.copy()), first)
    np.testing.assert_allclose(mlp.predict(2 * ONE), by_hand(mlp, 2 * ONE), rtol=1e-5)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_what_has_changed_is_noticed(backend):
    mlp = network(backend)
    first = mlp.predict(ONE)
    mlp.set_parameters([(W * 2, b + 1) for W, b in mlp.parameters])
    np.testing.assert_allclose(second := mlp.predict(ONE), by_hand(mlp, ONE), rtol=1e-5)
    mlp.fit(np.tile(ONE, (8, 1)), np.ones((8, 2)), epochs=1, progress=False)
    np.testing.assert_allclose(mlp.predict(ONE), by_hand(mlp, ONE), rtol=1e-5)
    assert not np.allclose(first, second)
    mlp.to("cpu", backend="numpy" if backend == "numba" else "numba")
    np.testing.assert_allclose(mlp.predict(ONE), by_hand(mlp, ONE), rtol=1e-5)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_bad_records_are_refused_as_ever(backend):
    mlp = network(backend)
    mlp.predict(ONE)
    for bad, message in [
        (np.array([[1.0, np.nan, 0.0]], np.float32), "row 0, column 1"),
        (np.array([[1.0, 0.0, -np.inf]], np.float32), "row 0, column 2"),
        (np.array([[np.inf, -np.inf, 0.0]], np.float32), "1 more values that are not finite"),
        (np.array([[1e300, 0.0, 0.0]]), "float32 ends at"),
        (ONE[:, :2], "the network has 3 inputs"),
        (ONE[0], "the network has 3 inputs"),
        (ONE[:0], "has no rows"),
        (np.array([["a", "b", "c"]]), "not real numbers"),
    ]:
        with pytest.raises(gd.InputError, match=message):
            mlp.predict(bad)
        np.testing.assert_allclose(mlp.predict(ONE), by_hand(mlp, ONE), rtol=1e-5)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_large_numbers_whose_squares_overflow_are_finite(backend):
    mlp = network(backend)
    large = np.array([[1e30, -1e30, 3e38]], np.float32)
    assert np.isfinite(mlp.predict(large)).all()  # tanh is ±1 there


@pytest.mark.parametrize("layout", ["transposed", "every second", "another byte order", "read-only", "a list"])
@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_records_of_any_layout(backend, layout):
    mlp, x = network(backend), np.random.default_rng(1).standard_normal((3, 3)).astype(np.float32)
    given = {
        "transposed": x.T.copy().T, "every second": np.repeat(x, 2, axis=1)[:, ::2],
        "another byte order": x.astype(x.dtype.newbyteorder()), "read-only": x.copy(), "a list": x.tolist(),
    }[layout]  # fmt: skip
    if layout == "read-only":
        given.flags.writeable = False
    np.testing.assert_allclose(mlp.predict(given), by_hand(mlp, x), rtol=1e-5)
