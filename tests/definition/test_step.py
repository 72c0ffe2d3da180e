"""The training step: reduction, penalty, clipping, and what it returns."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from layered import Layer, forward, gradient, gradient_norm, map_layers, train_step, update

from gdkernels.definition import activations, losses
from gdkernels.definition.objective import Objective
from gdkernels.definition.optimizers import SGD
from gdkernels.errors import InputError

SIZES, FUNCTIONS = [3, 4, 2], [activations.tanh, activations.identity]


@pytest.fixture
def problem():
    rng = np.random.default_rng(8)
    parameters = tuple(Layer(rng.standard_normal((m, n)), rng.standard_normal(n)) for m, n in pairwise(SIZES))
    return parameters, rng.standard_normal((5, 3)), rng.standard_normal((5, 2))


def no_slots(parameters):
    return map_layers(lambda a: (), parameters)


def step(problem, **keywords):
    parameters, x, y = problem
    of_objective = {name: keywords.pop(name) for name in vars(Objective(losses.sse)) if name in keywords}
    settings = {"optimizer": SGD(), "learning_rate": 0.1, "t": 1.0} | keywords
    settings["objective"] = replace(Objective(losses.sse), **of_objective)
    return train_step(parameters, no_slots(parameters), x, y, activations=FUNCTIONS, **settings, xp=np)


def test_forward_is_matrix_products_and_functions(problem):
    (first, second), x, _ = problem
    wanted = np.tanh(x @ first.W + first.b) @ second.W + second.b
    np.testing.assert_allclose(forward((first, second), x, activations=FUNCTIONS, xp=np), wanted, rtol=1e-14)


def test_error_is_the_sum_over_the_records_whatever_the_reduction(problem):
    parameters, x, y = problem
    total = 0.5 * np.sum((y - forward(parameters, x, activations=FUNCTIONS, xp=np)) ** 2)
    for reduction in ("mean", "sum"):
        assert step(problem, reduction=reduction)[0] == pytest.approx(total, rel=1e-14)


def test_the_mean_is_the_sum_over_the_number_of_records(problem):
    parameters, x, y = problem
    settings = {"activations": FUNCTIONS, "loss": losses.sse, "xp": np}
    _, mean = gradient(parameters, x, y, **settings)
    _, total = gradient(parameters, x, y, reduction="sum", **settings)
    for a, b in zip(mean, total, strict=True):
        np.testing.assert_allclose(5 * a.W, b.W, rtol=1e-14)
        np.testing.assert_allclose(5 * a.b, b.b, rtol=1e-14)
    # A batch of two halves has the mean of their gradients, and the sum of their sums.
    _, twice = gradient(parameters, np.concat([x, x]), np.concat([y, y]), **settings)
    np.testing.assert_allclose(twice[0].W, mean[0].W, rtol=1e-13)


def test_another_reduction_is_refused(problem):
    with pytest.raises(InputError, match="unknown reduction 'average'. Choices: mean, sum"):
        step(problem, reduction="average")


def test_a_step_without_anything_else_goes_down_the_gradient(problem):
    parameters, x, y = problem
    _, gradients = gradient(parameters, x, y, activations=FUNCTIONS, loss=losses.sse, xp=np)
    error, norm, moved, slots = step(problem)
    assert norm is None
    assert slots == no_slots(parameters)
    for p, g, m in zip(parameters, gradients, moved, strict=True):
        np.testing.assert_allclose(m.W, p.W - 0.1 * g.W, rtol=1e-15)
        np.testing.assert_allclose(m.b, p.b - 0.1 * g.b, rtol=1e-15)
    assert error > 0


def test_the_penalty_joins_the_gradient_of_weights_not_of_biases_and_not_the_error(problem):
    error, _, plain, _ = step(problem)
    penalised_error, _, moved, _ = step(problem, l2=0.5)
    assert penalised_error == error
    for p, without, with_penalty in zip(problem[0], plain, moved, strict=True):
        np.testing.assert_allclose(with_penalty.W, without.W - 0.1 * 0.5 * p.W, rtol=1e-13)
        np.testing.assert_array_equal(with_penalty.b, without.b)


def test_the_norm_is_that_of_all_gradients_together_with_the_penalty(problem):
    parameters, x, y = problem
    _, gradients = gradient(parameters, x, y, activations=FUNCTIONS, loss=losses.sse, xp=np)
    wanted = np.linalg.norm(
        np.concatenate([a.ravel() for g, p in zip(gradients, parameters, strict=True) for a in (g.W + 0.5 * p.W, g.b)])
    )
    _, norm, _, _ = step(problem, l2=0.5, with_norm=True)
    np.testing.assert_allclose(norm, wanted, rtol=1e-14)
    assert gradient_norm([Layer(np.full((2, 2), 3.0)), Layer(np.full((1, 5), 4.0), None)], xp=np) == np.sqrt(36 + 80)


@pytest.mark.parametrize("limit", [0.01, 1e3])
def test_clipping_scales_all_gradients_to_the_limit(problem, limit):
    _, norm, plain, _ = step(problem, with_norm=True)
    _, clipped_norm, moved, _ = step(problem, clip_norm=limit)
    assert clipped_norm == norm  # before clipping
    scale = min(1.0, limit / norm)
    for p, without, clipped in zip(problem[0], plain, moved, strict=True):
        np.testing.assert_allclose(clipped.W - p.W, scale * (without.W - p.W), rtol=1e-9)
        np.testing.assert_allclose(clipped.b - p.b, scale * (without.b - p.b), rtol=1e-9)


def test_clipping_a_gradient_of_zero_is_silent():
    parameters = (Layer(np.ones((1, 1)), np.ones(1)),)
    nothing = map_layers(np.zeros_like, parameters)
    (moved,), _ = update(
        parameters,
        nothing,
        no_slots(parameters),
        optimizer=SGD(),
        learning_rate=0.1,
        t=1.0,
        clip_norm=1.0,
        norm=np.float64(0.0),
        xp=np,
    )
    np.testing.assert_array_equal(moved.W, 1.0)


@pytest.mark.parametrize("clip_norm", [None, 0.1])
@pytest.mark.parametrize("l2", [0.0, 0.1])
def test_float32_stays_float32(problem, l2, clip_norm):
    parameters, x, y = problem
    small = map_layers(lambda a: a.astype(np.float32), parameters)
    results = step((small, x.astype(np.float32), y.astype(np.float32)), l2=l2, clip_norm=clip_norm, with_norm=True)
    error, norm, moved, _ = results
    assert {a.dtype for a in (error, norm, *(a for layer in moved for a in layer))} == {np.dtype(np.float32)}
    wanted = step(problem, l2=l2, clip_norm=clip_norm, with_norm=True)
    np.testing.assert_allclose(moved[0].W, wanted[2][0].W, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_penalty_in_the_loss_is_a_part_of_the_error_and_of_its_gradient(problem, reduction):
    parameters, x, y = problem
    weights = np.asarray([1.0, 0.0, 2.0, 0.5, 1.0])

    def error(parameters):
        return step((parameters, x, y), l2=0.3, l2_in_loss=True, sample_weight=weights)[0]

    plain = step(problem, sample_weight=weights)[0]
    squares = sum(np.sum(p.W**2) for p in parameters)
    assert error(parameters) == pytest.approx(plain + 0.15 * squares, rel=1e-13)

    moved = step(problem, l2=0.3, l2_in_loss=True, sample_weight=weights, reduction=reduction)[2]
    divisor = 4.5 if reduction == "mean" else 1.0
    changed = [np.array(a) for a in parameters[0]]
    for k, (row, column) in enumerate([(0, 0), (2, 3)]):
        ends = []
        for sign in (1, -1):
            changed[0][:] = parameters[0].W
            changed[0][row, column] += sign * 1e-5
            ends.append(error((Layer(*changed), parameters[1])))
        slope = (ends[0] - ends[1]) / 2e-5 / divisor
        found = (parameters[0].W - moved[0].W)[row, column] / 0.1
        assert found == pytest.approx(slope, rel=1e-6), k
