"""Losses: values per record and derivatives, where they are ordinary and where they are delicate."""

import math

import expected
import numpy as np
import pytest

from gdkernels.definition import activations, losses
from gdkernels.definition.losses import Huber, link_of
from gdkernels.graph import value_and_pullback

FAR = np.asarray([[1e4, -1e4, 0.0], [-1e4, -1e4, 1e4], [1e4, 1e4, 1e4]])


def with_slopes(loss, prediction, target):
    """Return the loss of each record, and its derivative with respect to each prediction."""
    value, pull_back = value_and_pullback(loss)(prediction, target, xp=np)
    np.testing.assert_allclose(loss(prediction, target, xp=np), value, rtol=1e-14, atol=1e-300)
    return value, pull_back(np.ones_like(value))


@pytest.mark.parametrize("shape", [(6, 4), (1, 4), (5, 1), (1, 1)])
@pytest.mark.parametrize("name", losses.BY_NAME)
def test_values_per_record(name, shape):
    rng = np.random.default_rng(5)
    prediction, target = 2 * rng.standard_normal(shape), expected.targets(name, shape, rng)
    value, _ = with_slopes(losses.BY_NAME[name], prediction, target)
    assert value.shape == shape[:1]
    wanted = [expected.LOSSES[name](p, y) for p, y in zip(prediction, target, strict=True)]
    np.testing.assert_allclose(value, wanted, rtol=1e-12, atol=1e-14)


def test_numbers_by_hand():
    prediction, target = np.asarray([[1.0, 5.0]]), np.asarray([[3.0, 2.0]])
    assert losses.sse(prediction, target, xp=np) == 6.5  # ½(4 + 9)
    assert losses.mse(prediction, target, xp=np) == 6.5  # (4 + 9)/2
    assert losses.mse(np.asarray([[1.0, 5.0, 0.0]]), np.asarray([[3.0, 2.0, 0.0]]), xp=np) == pytest.approx(13 / 3)
    assert losses.huber(prediction, target, xp=np) == 1.5 + 2.5
    assert Huber(2.5)(prediction, target, xp=np) == 2.0 + 2.5 * (3 - 1.25)
    assert losses.poisson(np.zeros((1, 1)), np.zeros((1, 1)), xp=np) == 1.0
    assert losses.cross_entropy(np.zeros((1, 4)), np.eye(4)[:1], xp=np) == pytest.approx(math.log(4))
    assert losses.binary_cross_entropy(np.zeros((1, 2)), np.ones((1, 2)), xp=np) == pytest.approx(2 * math.log(2))


def test_poisson_is_zero_and_flat_where_the_rate_is_the_count():
    count = np.asarray([[1.0, 2.0, 7.0]])
    value, slopes = with_slopes(losses.poisson, np.log(count), count)
    np.testing.assert_allclose(value, 0.0, atol=1e-14)
    np.testing.assert_allclose(slopes, 0.0, atol=1e-14)


@pytest.mark.parametrize(
    ("name", "target", "wanted_value", "wanted_slopes"),
    [
        # The loss of each record by hand: the gap between the largest logit and the target's.
        ("cross_entropy", np.eye(3), [0, 2e4, math.log(3)], [[0, 0, 0], [0, -1, 1], [1 / 3, 1 / 3, -2 / 3]]),
        (
            "cross_entropy",
            np.eye(3)[[1, 2, 2]],
            [2e4, 0, math.log(3)],
            [[1, -1, 0], [0, 0, 0], [1 / 3, 1 / 3, -2 / 3]],
        ),
        (
            "binary_cross_entropy",
            np.ones((3, 3)),
            [1e4 + math.log(2), 2e4, 0],
            [[0, -1, -0.5], [-1, -1, 0], [0, 0, 0]],
        ),
        (
            "binary_cross_entropy",
            np.zeros((3, 3)),
            [1e4 + math.log(2), 1e4, 3e4],
            [[1, 0, 0.5], [0, 0, 1], [1, 1, 1]],
        ),
        ("sse", np.zeros((3, 3)), [1e8, 1.5e8, 1.5e8], FAR),
        ("mse", np.zeros((3, 3)), [2e8 / 3, 1e8, 1e8], 2 / 3 * FAR),
        ("huber", np.zeros((3, 3)), [2e4 - 1, 3e4 - 1.5, 3e4 - 1.5], np.sign(FAR)),
    ],
)
def test_far_logits(name, target, wanted_value, wanted_slopes):
    value, slopes = with_slopes(losses.BY_NAME[name], FAR, target)
    np.testing.assert_allclose(value, wanted_value, rtol=1e-14, atol=1e-15)
    np.testing.assert_allclose(slopes, wanted_slopes, rtol=1e-14, atol=1e-15)
    value, slopes = with_slopes(losses.BY_NAME[name], FAR.astype(np.float32), target.astype(np.float32))
    assert value.dtype == slopes.dtype == np.float32
    np.testing.assert_allclose(value, wanted_value, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(slopes, wanted_slopes, rtol=1e-6, atol=1e-6)


def test_poisson_of_vanishing_rates():
    value, slopes = with_slopes(losses.poisson, np.asarray([[-1e4, -1e4]]), np.asarray([[0.0, 3.0]]))
    np.testing.assert_allclose(value, 3e4 + 3 * math.log(3) - 3, rtol=1e-15)
    np.testing.assert_allclose(slopes, [[0.0, -3.0]])


def test_the_kink_of_huber_has_one_slope():
    error = np.asarray([[1.0, -1.0, 0.0, 1.0 + 1e-12, 1.0 - 1e-12]])
    _, slopes = with_slopes(losses.huber, error, np.zeros((1, 5)))
    np.testing.assert_allclose(slopes, [[1, -1, 0, 1, 1]], rtol=1e-11)
    _, slopes = with_slopes(Huber(3.0), 10 * error, np.zeros((1, 5)))
    np.testing.assert_allclose(slopes, [[3, -3, 0, 3, 3]], rtol=1e-11)


@pytest.mark.parametrize("name", losses.BY_NAME)
def test_nan_comes_out_as_nan_in_its_own_record(name):
    prediction, target = np.asarray([[0.5, 0.25], [np.nan, 0.0]]), np.asarray([[1.0, 0.0], [1.0, 0.0]])
    value, _ = with_slopes(losses.BY_NAME[name], prediction, target)
    np.testing.assert_array_equal(np.isnan(value), [False, True])
    value, _ = with_slopes(losses.BY_NAME[name], target, prediction)
    np.testing.assert_array_equal(np.isnan(value), [False, True])


@pytest.mark.parametrize("name", ["cross_entropy", "binary_cross_entropy", "poisson"])
def test_the_slope_of_a_loss_of_logits_is_prediction_minus_target(name):
    rng = np.random.default_rng(2)
    logits, loss = 3 * rng.standard_normal((5, 4)), losses.BY_NAME[name]
    target = expected.targets(name, (5, 4), rng)
    _, slopes = with_slopes(loss, logits, target)
    np.testing.assert_allclose(slopes, link_of(loss)(logits, xp=np) - target, rtol=1e-12, atol=1e-14)


def test_links():
    assert link_of(losses.cross_entropy) is activations.softmax
    assert link_of(losses.binary_cross_entropy) is activations.sigmoid
    assert link_of(losses.poisson) is activations.exp
    assert link_of(losses.sse) is link_of(losses.huber) is activations.identity
    assert link_of(lambda p, y, *, xp: xp.sum(p - y, axis=-1)) is activations.identity


def test_cross_entropy_of_shares_and_of_rows_that_do_not_sum_to_one():
    rng = np.random.default_rng(4)
    logits = rng.standard_normal((3, 4))
    target = np.stack([np.full(4, 0.25), [0.7, 0.1, 0.1, 0.1], [2.0, 0.0, 0.5, 0.0]])
    value, slopes = with_slopes(losses.cross_entropy, logits, target)
    wanted = [expected.LOSSES["cross_entropy"](p, y) for p, y in zip(logits, target, strict=True)]
    np.testing.assert_allclose(value, wanted, rtol=1e-13)
    share = np.asarray([expected.softmax(row) for row in logits])
    np.testing.assert_allclose(slopes, target.sum(axis=1, keepdims=True) * share - target, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("name", losses.BY_NAME)
def test_against_torch(name):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    F = torch.nn.functional
    # torch sums over everything; its mse means 1/K over the outputs too, and its poisson uses Stirling's formula for
    # the part that depends on the counts alone, which is left out there.
    peers = {
        "sse": lambda p, y: 0.5 * F.mse_loss(p, y, reduction="sum"),
        "mse": lambda p, y: F.mse_loss(p, y, reduction="sum") / p.shape[1],
        "huber": lambda p, y: F.huber_loss(p, y, reduction="sum"),
        "poisson": lambda p, y: F.poisson_nll_loss(p, y, reduction="sum") + torch.sum(torch.xlogy(y, y) - y),
        "cross_entropy": lambda p, y: F.cross_entropy(p, y, reduction="sum"),
        "binary_cross_entropy": lambda p, y: F.binary_cross_entropy_with_logits(p, y, reduction="sum"),
    }
    rng = np.random.default_rng(6)
    prediction, target = 2 * rng.standard_normal((6, 3)), expected.targets(name, (6, 3), rng)
    value, slopes = with_slopes(losses.BY_NAME[name], prediction, target)
    given = torch.asarray(prediction, requires_grad=True)
    theirs = peers[name](given, torch.asarray(target))
    theirs.backward()
    np.testing.assert_allclose(value.sum(), theirs.item(), rtol=1e-12)
    np.testing.assert_allclose(slopes, given.grad.numpy(), rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("delta", [0.0, -1.0, math.inf, math.nan, "1", None])
def test_huber_needs_a_positive_delta(delta):
    with pytest.raises(ValueError, match="Huber: delta must be a finite number above 0, got"):
        Huber(delta)
