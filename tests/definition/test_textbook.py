"""Textbook cases, by their numbers."""

import numpy as np
import pytest
from layered import Layer, forward, gradient, train_step

from gdkernels.definition import activations, losses
from gdkernels.definition.objective import Objective
from gdkernels.definition.optimizers import SGD

SETTINGS = {"activations": [activations.identity], "loss": losses.mse, "xp": np}
STEP = {"activations": [activations.identity], "objective": Objective(losses.mse), "xp": np}


def one_step(w, x, y):
    parameters = (Layer(np.asarray(w), None),)
    _, _, moved, _ = train_step(
        parameters, (Layer((), None),), x, y, optimizer=SGD(), learning_rate=0.01, t=1.0, **STEP
    )
    return moved


def test_one_weight():
    w, x, y = [[2.0]], np.asarray([[3.0]]), np.asarray([[10.0]])
    error, (slope,) = gradient((Layer(np.asarray(w), None),), x, y, **SETTINGS)
    assert error == 16.0
    assert slope.W[0, 0] == -24.0
    assert slope.b is None
    (moved,) = one_step(w, x, y)
    assert moved.W[0, 0] == pytest.approx(2.24, rel=1e-15)
    assert moved.b is None


def test_two_weights():
    w, x, y = [[1.0], [2.0]], np.asarray([[3.0, 4.0]]), np.asarray([[6.0]])
    parameters = (Layer(np.asarray(w), None),)
    assert forward(parameters, x, activations=[activations.identity], xp=np)[0, 0] - 6 == 5.0
    _, (slopes,) = gradient(parameters, x, y, **SETTINGS)
    np.testing.assert_array_equal(slopes.W, [[30.0], [40.0]])
    moved = one_step(w, x, y)
    np.testing.assert_allclose(moved[0].W, [[0.7], [1.6]], rtol=1e-15)
    assert forward(moved, x, activations=[activations.identity], xp=np)[0, 0] - 6 == pytest.approx(2.5, rel=1e-14)


def test_a_line_reaches_the_least_squares_solution_from_any_start():
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, size=(40, 1))
    y = 3 * x - 2 + 0.3 * rng.standard_normal((40, 1))
    slope, intercept = np.polyfit(x[:, 0], y[:, 0], 1)
    for w, b in [(0.0, 0.0), (50.0, -20.0), (-7.0, 3.0)]:
        parameters = (Layer(np.asarray([[w]]), np.asarray([b])),)
        for t in range(400):
            _, _, parameters, _ = train_step(
                parameters,
                (Layer((), ()),),
                x,
                y,
                optimizer=SGD(),
                learning_rate=0.4,
                t=t + 1.0,
                **STEP,
            )
        np.testing.assert_allclose([parameters[0].W[0, 0], parameters[0].b[0]], [slope, intercept], rtol=1e-10)


def test_momentum_on_a_parabola_is_the_heavy_ball():
    # ℓ = (w − 0)², slope 2w, η = 0.1, μ = 0.5: w = 1 → 0.8 → 0.8 − 0.16 − 0.1 = 0.54 → …, by hand.
    parameters, slots = (Layer(np.ones((1, 1)), None),), (Layer((np.zeros((1, 1)),), None),)
    path = []
    for t in range(3):
        _, _, parameters, slots = train_step(
            parameters,
            slots,
            np.ones((1, 1)),
            np.zeros((1, 1)),
            optimizer=SGD(momentum=0.5),
            learning_rate=0.1,
            t=t + 1.0,
            **STEP,
        )
        path.append(parameters[0].W[0, 0])
    assert path == pytest.approx([0.8, 0.54, 0.302], rel=1e-13)


def test_a_network_of_two_units_by_hand():
    # x = 1, W1 = (1, −1), relu → (1, 0); W2 = (2, 3)ᵀ → ŷ = 2; y = 5: ∂E/∂ŷ = −3.
    parameters = (Layer(np.asarray([[1.0, -1.0]]), np.zeros(2)), Layer(np.asarray([[2.0], [3.0]]), np.zeros(1)))
    error, (first, second) = gradient(
        parameters,
        np.ones((1, 1)),
        np.full((1, 1), 5.0),
        activations=[activations.relu, activations.identity],
        loss=losses.sse,
        xp=np,
    )
    assert error == 4.5
    np.testing.assert_array_equal(second.W, [[-3.0], [0.0]])
    np.testing.assert_array_equal(second.b, [-3.0])
    np.testing.assert_array_equal(first.W, [[-6.0, 0.0]])
    np.testing.assert_array_equal(first.b, [-6.0, 0.0])
