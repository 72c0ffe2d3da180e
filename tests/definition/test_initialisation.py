"""Initial parameters, and what counts as relu-like."""

import math

import numpy as np
import pytest

from gdkernels.definition import activations
from gdkernels.definition.blocks.block import initial_values, parameters_of
from gdkernels.definition.blocks.dense import is_rectifier
from gdkernels.definition.chain import by_layer, chain
from gdkernels.errors import TraceError


def initial_parameters(sizes, functions, bias, generator):
    return by_layer(initial_values(parameters_of(chain(sizes[1:], functions, bias=bias), sizes[0]), generator))


RECTIFIERS = {"relu", "leaky_relu", "elu", "softplus", "gelu", "silu"}


def mish(z, *, xp):
    return z * xp.tanh(xp.logaddexp(z, 0.0))


@pytest.mark.parametrize("name", activations.BY_NAME)
def test_relu_like_is_found_from_the_slope(name):
    assert is_rectifier(activations.BY_NAME[name]) == (name in RECTIFIERS)


def test_the_users_own_rectifiers_count():
    assert is_rectifier(mish)
    assert is_rectifier(lambda z, *, xp: xp.clip(z, 0.0, 20.0))
    assert is_rectifier(activations.LeakyReLU(0.3))


@pytest.mark.parametrize(
    "f",
    [
        lambda z, *, xp: -z,
        lambda z, *, xp: z * z,
        lambda z, *, xp: xp.abs(z),
        lambda z, *, xp: 0.0 * z,
        lambda z, *, xp: xp.exp(100.0 * z),
        lambda z, *, xp: xp.where(z < 0, 0.5, 1.0) * z - 100.0,
        activations.LeakyReLU(0.9),
    ],
)
def test_what_lets_both_sides_through_or_none_does_not_count(f):
    assert not is_rectifier(f)


def test_what_cannot_be_traced_says_so_at_once():
    with pytest.raises(TraceError, match="erf"):
        is_rectifier(lambda z, *, xp: xp.erf(z))


def test_shapes_dtypes_and_zero_biases():
    layers = initial_parameters([3, 5, 2], [activations.relu, activations.identity], True, np.random.default_rng(0))
    assert [layer.W.shape for layer in layers] == [(3, 5), (5, 2)]
    assert [layer.b.shape for layer in layers] == [(5,), (2,)]
    assert all(a.dtype == np.float64 for layer in layers for a in layer)
    assert not any(layer.b.any() for layer in layers)
    without = initial_parameters([3, 5, 2], [activations.relu, activations.identity], False, np.random.default_rng(0))
    assert all(layer.b is None for layer in without)
    np.testing.assert_array_equal(without[1].W, layers[1].W)


@pytest.mark.parametrize(
    ("f", "bound"),
    [
        (activations.relu, math.sqrt(6 / 200)),
        (mish, math.sqrt(6 / 200)),
        (activations.tanh, math.sqrt(6 / 500)),
        (activations.identity, math.sqrt(6 / 500)),
        (activations.softmax, math.sqrt(6 / 500)),
    ],
)
def test_weights_are_uniform_within_the_bound(f, bound):
    (layer,) = initial_parameters([200, 300], [f], True, np.random.default_rng(1))
    assert np.abs(layer.W).max() <= bound
    # 60 000 draws: the largest comes within 0.1 % of the bound, and the quarters hold 15 000 ± 500 (4.7 sigma).
    assert np.abs(layer.W).max() > 0.999 * bound
    counts, _ = np.histogram(layer.W, bins=4, range=(-bound, bound))
    assert np.all(np.abs(counts - 15_000) < 500)


def test_the_same_seed_gives_the_same_bits():
    a, b = (initial_parameters([4, 4], [activations.relu], True, np.random.default_rng(7)) for _ in range(2))
    assert a[0].W.tobytes() == b[0].W.tobytes()


def test_sizes_and_activations_have_to_match():
    with pytest.raises(ValueError, match="shorter"):
        initial_parameters([4, 4, 4], [activations.relu], True, np.random.default_rng(7))
