"""Activations far out on the left, where float32 still has all its digits: a network that shows them one by one.

Its record is 1, and each unit of its only layer has a point of its own for a weight. Its loss is the sum of what
it puts out, so that the gradient of the biases is the slope.
"""

import math

import numpy as np

from gdkernels.backend import verification
from gdkernels.definition import activations
from gdkernels.definition.objective import Objective
from gdkernels.definition.optimizers import SGD
from gdkernels.testing.cases import chained

POINTS = (-80.0, -50.0, -30.0, -20.0, -17.0, -10.0, -5.0, -1.0)
NAMES = ("sigmoid", "silu", "elu", "softplus")
BOUND = 6.0  # units in the last place; the slope of silu at −1, near where it is 0, has four roundings in it


def _logistic(z):
    return math.exp(z) / (1 + math.exp(z))


def _silu_slope(z):
    return _logistic(z) * (1 + z * _logistic(-z))


# name -> value and slope at z < 0, in float64 without a difference of numbers that are nearly equal
EXACT = {
    "sigmoid": (_logistic, lambda z: _logistic(z) * _logistic(-z) if z > -700 else 0.0),
    "silu": (lambda z: z * _logistic(z), _silu_slope),
    "elu": (math.expm1, math.exp),
    "softplus": (lambda z: math.log1p(math.exp(z)), _logistic),
}


def units(found, exact):
    """Return how many units in the last place of float32 each number is off."""
    exact = np.asarray(exact)
    spacing = np.maximum(np.spacing(np.abs(exact).astype(np.float32)), np.finfo(np.float32).tiny).astype(np.float64)
    return np.abs(np.asarray(found, np.float64).ravel() - exact) / spacing


def total(prediction, target, *, xp):
    return xp.sum(prediction, axis=-1)


def program(name):
    return chained((activations.BY_NAME[name],), (1, len(POINTS)), objective=Objective(total), optimizer=SGD())


def check_executable(name, executable):
    """Assert the same of an executable: a step at rate 1 takes the gradient from biases that were 0."""
    x, y = np.ones((1, 1), np.float32), np.zeros((1, len(POINTS)), np.float32)
    parameters = {"W0": np.asarray([POINTS], np.float32), "b0": np.zeros(len(POINTS), np.float32)}
    values = executable.predict(parameters, x)
    state = verification.start(program(name), parameters, np.array)
    executable.run(state, x, y, np.zeros(1, np.int64), 1, np.ones(1))
    check(name, values, -np.asarray(state.parameters["b0"]))


def check(name, values, slopes):
    """Assert that float32 values and slopes at the points are right to rounding."""
    for found, exact in zip((values, slopes), EXACT[name], strict=True):
        off = units(found, [exact(p) for p in POINTS])
        assert off.max() <= BOUND, (name, dict(zip(POINTS, off.round(1), strict=True)))
