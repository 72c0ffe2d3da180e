"""Gradient descent as textbooks show it, by their numbers."""

import numpy as np
import pytest

import gdkernels as gd


def one_weight(w: float, **keywords) -> gd.MLP:
    mlp = gd.MLP([1, 1], bias=False, precision="float64", backend="numpy", **keywords)
    mlp.set_parameters([[[[w]]]])
    return mlp


def weight(mlp: gd.MLP) -> float:
    return float(mlp.parameters[0].W[0, 0])


def double_well(prediction, target, *, xp):
    """Two minima in the prediction, the lower one at about −1.04, the shallow one at about 0.96."""
    return xp.sum((prediction * prediction - 1.0) ** 2 + 0.3 * prediction, axis=-1)


def test_one_weight_slope_and_step():
    mlp = one_weight(2.0)
    assert mlp.gradient([[3.0]], [[10.0]], loss="mse")[0].W[0, 0] == pytest.approx(-24)
    mlp.fit([[3.0]], [[10.0]], epochs=1, optimizer=gd.SGD(0.01), loss="mse")
    assert weight(mlp) == pytest.approx(2.24)


def test_two_weights_slopes_and_step():
    mlp = gd.MLP([2, 1], bias=False, precision="float64", backend="numpy")
    mlp.set_parameters([[[[1.0], [2.0]]]])
    X, Y = [[3.0, 4.0]], [6.0]
    assert mlp.predict(X)[0, 0] - 6.0 == pytest.approx(5)
    assert mlp.gradient(X, Y, loss="mse")[0].W[:, 0] == pytest.approx([30, 40])
    mlp.fit(X, Y, epochs=1, optimizer=gd.SGD(0.01), loss="mse")
    assert mlp.predict(X)[0, 0] - 6.0 == pytest.approx(2.5)


@pytest.mark.parametrize("seed", range(3))
def test_a_straight_line_reaches_the_closed_form_from_any_start(seed):
    rng = np.random.default_rng(7)
    X = rng.standard_normal((50, 2))
    Y = X @ [1.5, -2.0] + 0.5 + 0.1 * rng.standard_normal(50)
    closed_form = np.linalg.lstsq(np.column_stack([X, np.ones(50)]), Y, rcond=None)[0]
    mlp = gd.MLP([2, 1], seed=seed, precision="float64", backend="numpy")
    history = mlp.fit(X, Y, epochs=5000, batch_size=50, optimizer=gd.SGD(0.3), stop_gradient_norm=1e-10)
    layer = mlp.parameters[0]
    assert [*layer.W[:, 0], layer.b[0]] == pytest.approx(closed_form, abs=1e-9)
    assert "critical point" in history.stopped
    assert history.epochs[-1].gradient_norm <= 1e-10
    assert len(history.epochs) < 5000


def test_one_start_ends_in_a_local_minimum_and_several_find_the_lower():
    X, Y = [[1.0]], [[0.0]]
    settings = {"epochs": 400, "optimizer": gd.SGD(0.02), "loss": double_well, "stop_gradient_norm": 1e-9}
    alone = one_weight(1.5)
    alone.fit(X, Y, **settings)
    assert weight(alone) == pytest.approx(0.9597, abs=1e-3)

    several = one_weight(1.5, seed=1)
    history = several.fit(X, Y, starts=6, **settings)
    assert weight(several) == pytest.approx(-1.0354, abs=1e-3)
    assert len(history.starts) == 6
    assert history.starts[0].loss == pytest.approx(alone.loss(X, Y), abs=1e-6)
    assert min(s.loss for s in history.starts) == pytest.approx(several.loss(X, Y), abs=1e-6)
    assert all(s.epochs > 0 and s.stopped for s in history.starts)
    assert {round(s.loss, 2) for s in history.starts} == {0.29, -0.31}


def test_momentum_leaves_a_shallow_minimum_that_plain_descent_does_not():
    X, Y = [[1.0]], [[0.0]]
    plain, with_momentum = one_weight(2.0), one_weight(2.0)
    plain.fit(X, Y, epochs=500, optimizer=gd.SGD(0.01), loss=double_well)
    with_momentum.fit(X, Y, epochs=500, optimizer=gd.SGD(0.01, momentum=0.9), loss=double_well)
    assert weight(plain) == pytest.approx(0.9597, abs=1e-3)
    assert weight(with_momentum) == pytest.approx(-1.0354, abs=1e-3)
