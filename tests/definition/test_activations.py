"""Values and slopes of activations, where they are ordinary and where they are delicate."""

import math

import expected
import numpy as np
import pytest
import tails

from gdkernels.definition import activations
from gdkernels.graph import value_and_derivative, value_and_pullback

INF, NAN = math.inf, math.nan
ORDINARY = np.asarray([-9.5, -3.0, -1.25, -0.75, -1e-3, 1e-3, 0.5, 1.0, 2.75, 4.0, 9.5])
POINTS = (0.0, 1e4, -1e4, INF, -INF)

# name -> the true values, then the true slopes, at POINTS. Slopes at a kink: relu and its kin take the left one,
# as every library does; slopes at an infinity are limits.
DELICATE = {
    "identity": [(0.0, 1e4, -1e4, INF, -INF), (1, 1, 1, 1, 1)],
    "sigmoid": [(0.5, 1, 0, 1, 0), (0.25, 0, 0, 0, 0)],
    "tanh": [(0.0, 1, -1, 1, -1), (1, 0, 0, 0, 0)],
    "relu": [(0.0, 1e4, 0, INF, 0), (0, 1, 0, 1, 0)],
    "leaky_relu": [(0.0, 1e4, -100, INF, -INF), (0.01, 1, 0.01, 1, 0.01)],
    "elu": [(0.0, 1e4, -1, INF, -1), (1, 1, 0, 1, 0)],
    "softplus": [(math.log(2), 1e4, 0, INF, 0), (0.5, 1, 0, 1, 0)],
    "gelu": [(0.0, 1e4, 0, INF, 0), (0.5, 1, 0, 1, 0)],
    "silu": [(0.0, 1e4, 0, INF, 0), (0.5, 1, 0, 1, 0)],
    "exp": [(1.0, INF, 0, INF, 0), (1, INF, 0, INF, 0)],
}

ELEMENTWISE = [name for name in activations.BY_NAME if name != "softmax"]


def check_ordinary(name):
    value, slope = value_and_derivative(activations.BY_NAME[name])(ORDINARY[:, None], xp=np)
    wanted_value, wanted_slope = expected.ELEMENTWISE[name]
    np.testing.assert_allclose(value[:, 0], [wanted_value(z) for z in ORDINARY], rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(slope[:, 0], [wanted_slope(z) for z in ORDINARY], rtol=1e-12, atol=1e-15)


def check_all_ordinary():
    for name in ELEMENTWISE:
        check_ordinary(name)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_ordinary_values_and_slopes(name):
    check_ordinary(name)
    direct = activations.BY_NAME[name](ORDINARY[:, None], xp=np)
    np.testing.assert_allclose(
        direct[:, 0], [expected.ELEMENTWISE[name][0](z) for z in ORDINARY], rtol=1e-13, atol=1e-15
    )


@pytest.mark.parametrize("op", ["tanh", "exp", "expm1", "log1p", "multiply", "maximum", "abs", "where"])
def test_one_percent_in_a_slope_is_noticed(op, plant_one_percent):
    plant_one_percent(op)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        check_all_ordinary()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", DELICATE)
def test_delicate_values_and_slopes(name, dtype):
    # Warnings are errors here: NumPy has to be silent at every one of these.
    points = np.asarray(POINTS, dtype=dtype)
    if name == "exp":  # which does overflow
        points = np.where(points == 1e4, np.inf, points).astype(dtype)
    f = activations.BY_NAME[name]
    value, slope = value_and_derivative(f)(points[:, None], xp=np)
    direct = f(points[:, None], xp=np)
    assert value.dtype == slope.dtype == direct.dtype == dtype
    tolerance = 1e-15 if dtype == "float64" else 1e-6
    wanted_value, wanted_slope = DELICATE[name]
    np.testing.assert_allclose(value[:, 0], wanted_value, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(direct[:, 0], wanted_value, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(slope[:, 0], wanted_slope, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", activations.BY_NAME)
def test_nan_comes_out_as_nan(name, dtype):
    z = np.asarray([[1.0], [NAN], [-1.0]], dtype=dtype)
    f = activations.BY_NAME[name]
    value, pull_back = value_and_pullback(f)(z, xp=np)
    for result in (value, f(z, xp=np)):
        np.testing.assert_array_equal(np.isnan(result), np.isnan(z))
    slope = pull_back(np.ones_like(z))  # silent too
    assert np.isfinite(slope[[0, 2]]).all()


def test_nan_spoils_its_own_record_only():
    z = np.asarray([[1.0, NAN, 2.0], [1.0, 0.0, 2.0]])
    value, pull_back = value_and_pullback(activations.softmax)(z, xp=np)
    assert np.isnan(value[0]).all()
    assert np.isfinite(value[1]).all()
    assert np.isfinite(pull_back(np.ones_like(z))[1]).all()


def test_relu_passes_nan_on_in_the_gradient():
    # The forward value is NaN, so training notices; that the slope is finite hides nothing.
    value, slope = value_and_derivative(activations.relu)(np.asarray([[NAN]]), xp=np)
    assert np.isnan(value).all()
    assert slope == 1


@pytest.mark.parametrize("z", [20.0, 30.0, 36.0, 39.9, 40.1, 50.0, 700.0])
@pytest.mark.parametrize("name", ["sigmoid", "tanh", "elu", "softplus", "gelu", "silu"])
def test_values_and_slopes_on_the_way_to_the_asymptotes(name, z):
    value, slope = value_and_derivative(activations.BY_NAME[name])(np.asarray([[z], [-z]]), xp=np)
    kind = "one" if name in {"sigmoid", "tanh"} else "line"
    low = {"tanh": -1.0, "elu": -1.0}.get(name, 0.0)
    right, right_slope = (1.0, 0.0) if kind == "one" else (z, 1.0)
    # Each of these is nearer than 2e-8·z to its asymptote from 20 on, and stays on it.
    near = 40 * math.exp(-z) * z
    np.testing.assert_allclose(value[:, 0], [right, low], rtol=1e-15, atol=near + 1e-15)
    np.testing.assert_allclose(slope[:, 0], [right_slope, 0.0], rtol=0, atol=near + 4e-15)


def test_softplus_keeps_its_relative_precision_on_the_left():
    z = np.asarray([[-50.0], [-700.0]])
    value, slope = value_and_derivative(activations.softplus)(z, xp=np)
    np.testing.assert_allclose(value, np.exp(z), rtol=1e-14)
    np.testing.assert_allclose(slope, np.exp(z), rtol=1e-14)


@pytest.mark.parametrize("name", tails.NAMES)
def test_float32_is_right_to_rounding_far_out_on_the_left(name):
    z = np.asarray(tails.POINTS, np.float32)[:, None]
    tails.check(name, *value_and_derivative(activations.BY_NAME[name])(z, xp=np))
    value, slope = value_and_derivative(activations.BY_NAME[name])(z.astype(np.float64), xp=np)
    np.testing.assert_allclose(value[:, 0], [tails.EXACT[name][0](p) for p in tails.POINTS], rtol=1e-13)
    np.testing.assert_allclose(slope[:, 0], [tails.EXACT[name][1](p) for p in tails.POINTS], rtol=1e-13)


def softmax_jacobian_product(row, cotangent):
    p = expected.softmax(row)
    mean = math.fsum(a * c for a, c in zip(p, cotangent, strict=True))
    return [a * (c - mean) for a, c in zip(p, cotangent, strict=True)]


@pytest.mark.parametrize(
    "row",
    [
        [0.1, -2.0, 3.0],
        [0.0, 0.0, 0.0],
        [1e4, -1e4, 0.0],
        [1e4, 1e4, -1e4],
        [-1e4, -1e4, -1e4],
        [1e4, 1e4 - 1.0, 0.0],
    ],
)
def test_softmax_and_its_vector_jacobian_product(row):
    z, cotangent = np.asarray([row]), np.asarray([[0.5, -1.0, 2.0]])
    value, pull_back = value_and_pullback(activations.softmax)(z, xp=np)
    np.testing.assert_allclose(value[0], expected.softmax(row), rtol=1e-13)
    np.testing.assert_allclose(activations.softmax(z, xp=np), value, rtol=1e-15)
    np.testing.assert_allclose(
        pull_back(cotangent)[0], softmax_jacobian_product(row, cotangent[0]), rtol=1e-11, atol=1e-15
    )


def test_softmax_with_minus_infinity_leaves_that_class_out():
    value, pull_back = value_and_pullback(activations.softmax)(np.asarray([[0.0, -INF, 0.0]]), xp=np)
    np.testing.assert_array_equal(value, [[0.5, 0.0, 0.5]])
    np.testing.assert_allclose(pull_back(np.asarray([[1.0, 5.0, 0.0]])), [[0.25, 0.0, -0.25]])


@pytest.mark.parametrize("name", activations.BY_NAME)
def test_against_jax(name):
    jax = pytest.importorskip("jax", reason="jax is not installed")
    peers = {
        "identity": lambda z: z,
        "sigmoid": jax.nn.sigmoid,
        "tanh": jax.numpy.tanh,
        "relu": jax.nn.relu,
        "leaky_relu": jax.nn.leaky_relu,
        "elu": jax.nn.elu,
        "softplus": jax.nn.softplus,
        "gelu": lambda z: jax.nn.gelu(z, approximate=True),
        "silu": jax.nn.silu,
        "exp": jax.numpy.exp,
        "softmax": jax.nn.softmax,
    }
    rng = np.random.default_rng(3)
    z, cotangent = 3 * rng.standard_normal((4, 5)), rng.standard_normal((4, 5))
    value, pull_back = value_and_pullback(activations.BY_NAME[name])(z, xp=np)
    with jax.enable_x64(True):
        theirs, their_pull_back = jax.vjp(peers[name], jax.numpy.asarray(z))
        np.testing.assert_allclose(value, np.asarray(theirs), rtol=1e-12, atol=1e-15)
        (slopes,) = their_pull_back(jax.numpy.asarray(cotangent))
        np.testing.assert_allclose(pull_back(cotangent), np.asarray(slopes), rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("name", activations.BY_NAME)
def test_against_torch(name):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    F = torch.nn.functional
    peers = {
        "identity": lambda z: z * 1.0,
        "gelu": lambda z: F.gelu(z, approximate="tanh"),
        "exp": torch.exp,
        "softmax": lambda z: torch.softmax(z, dim=-1),
    }
    rng = np.random.default_rng(3)
    z, cotangent = 3 * rng.standard_normal((4, 5)), rng.standard_normal((4, 5))
    value, pull_back = value_and_pullback(activations.BY_NAME[name])(z, xp=np)
    given = torch.asarray(z, requires_grad=True)
    theirs = peers.get(name, getattr(F, name, None))(given)
    theirs.backward(torch.asarray(cotangent))
    np.testing.assert_allclose(value, theirs.detach().numpy(), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(pull_back(cotangent), given.grad.numpy(), rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("f", [activations.LeakyReLU, activations.ELU])
@pytest.mark.parametrize("parameter", [INF, NAN, "0.1", None, True])
def test_parameters_are_finite_numbers(f, parameter):
    with pytest.raises(ValueError, match=f"{f.__name__}: (slope|alpha) must be a finite number, got"):
        f(parameter)
