"""Weights of records in the loss: what they mean, and that without them nothing changes."""

from itertools import pairwise

import expected
import numpy as np
import pytest
from layered import Layer, gradient, map_layers

from gdkernels.definition import activations, losses

SIZES, FUNCTIONS = (3, 4, 3), [activations.tanh, activations.identity]
COUNTS = np.asarray([2.0, 0.0, 1.0, 3.0, 1.0])


def problem(loss):
    rng = np.random.default_rng(5)
    parameters = tuple(Layer(rng.standard_normal((m, n)), rng.standard_normal(n)) for m, n in pairwise(SIZES))
    return parameters, rng.standard_normal((5, SIZES[0])), expected.targets(loss, (5, SIZES[-1]), rng)


def settings(loss, reduction):
    return {"activations": FUNCTIONS, "loss": losses.BY_NAME[loss], "reduction": reduction}


def assert_layers_agree(found, wanted, rtol=1e-12):
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a.W, b.W, rtol=rtol, atol=1e-14)
        np.testing.assert_allclose(a.b, b.b, rtol=rtol, atol=1e-14)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("loss", losses.BY_NAME)
def test_a_whole_weight_is_so_many_records(loss, reduction):
    parameters, x, y = problem(loss)
    again = np.repeat(np.arange(5), COUNTS.astype(int))
    error, wanted = gradient(parameters, x[again], y[again], **settings(loss, reduction), xp=np)
    found_error, found = gradient(parameters, x, y, **settings(loss, reduction), sample_weight=COUNTS, xp=np)
    assert found_error == pytest.approx(error, rel=1e-13)
    assert_layers_agree(found, wanted)


def test_only_the_sum_depends_on_the_scale_of_the_weights():
    parameters, x, y = problem("sse")
    by = {
        (reduction, scale): gradient(
            parameters, x, y, **settings("sse", reduction), sample_weight=scale * COUNTS, xp=np
        )
        for reduction in ("mean", "sum")
        for scale in (1.0, 8.0)
    }
    assert_layers_agree(by["mean", 8.0][1], by["mean", 1.0][1])
    assert_layers_agree(by["sum", 8.0][1], map_layers(lambda g: 8.0 * g, by["sum", 1.0][1]))
    assert by["mean", 8.0][0] == pytest.approx(8.0 * by["mean", 1.0][0])


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_batch_without_weight_has_no_gradient(reduction):
    parameters, x, y = problem("sse")
    error, found = gradient(parameters, x, y, **settings("sse", reduction), sample_weight=np.zeros(5), xp=np)
    assert error == 0
    assert all(np.array_equal(g, np.zeros_like(g)) for layer in found for g in layer)


def test_on_every_namespace(namespace):
    parameters, x, y = problem("cross_entropy")
    theirs = map_layers(namespace.array, parameters)
    arrays = [namespace.array(a) for a in (x, y)]
    _, wanted = gradient(parameters, x, y, **settings("cross_entropy", "mean"), sample_weight=COUNTS, xp=np)
    weights = namespace.array(COUNTS)
    found = gradient(theirs, *arrays, **settings("cross_entropy", "mean"), sample_weight=weights, xp=namespace.xp)[1]
    assert_layers_agree(map_layers(namespace.numpy, found), wanted)
