"""Results of the definition by other means: Python's math, one number at a time, and finite differences."""

import math

import numpy as np

SQRT_2_OVER_PI = math.sqrt(2 / math.pi)


def _sigmoid(z):
    return 1 / (1 + math.exp(-z)) if z > 0 else math.exp(z) / (1 + math.exp(z))


def _gelu_gate(z):
    return math.tanh(SQRT_2_OVER_PI * (z + 0.044715 * z**3))


# name -> (value, slope), for numbers of ordinary size away from kinks
ELEMENTWISE = {
    "identity": (lambda z: z, lambda z: 1.0),
    "sigmoid": (_sigmoid, lambda z: _sigmoid(z) * _sigmoid(-z)),
    "tanh": (math.tanh, lambda z: 1 / math.cosh(z) ** 2),
    "relu": (lambda z: max(z, 0.0), lambda z: float(z > 0)),
    "leaky_relu": (lambda z: z if z > 0 else 0.01 * z, lambda z: 1.0 if z > 0 else 0.01),
    "elu": (lambda z: z if z > 0 else math.expm1(z), lambda z: 1.0 if z > 0 else math.exp(z)),
    "softplus": (lambda z: math.log(1 + math.exp(z)), _sigmoid),
    "gelu": (
        lambda z: 0.5 * z * (1 + _gelu_gate(z)),
        lambda z: (
            0.5 * (1 + _gelu_gate(z)) + 0.5 * z * (1 - _gelu_gate(z) ** 2) * SQRT_2_OVER_PI * (1 + 3 * 0.044715 * z**2)
        ),
    ),
    "silu": (lambda z: z * _sigmoid(z), lambda z: _sigmoid(z) * (1 + z * _sigmoid(-z))),
    "exp": (math.exp, math.exp),
}


def softmax(row):
    powers = [math.exp(z - max(row)) for z in row]
    return [p / math.fsum(powers) for p in powers]


def _log_softmax(row):
    return [z - max(row) - math.log(math.fsum(math.exp(u - max(row)) for u in row)) for z in row]


def _softplus(z):
    return max(z, 0.0) + math.log1p(math.exp(-abs(z)))


def _huber(e):
    return 0.5 * e * e if abs(e) <= 1 else abs(e) - 0.5


def _poisson(z, y):
    return math.exp(z) - y * z + (y * math.log(y) - y if y else 0.0)


# name -> the loss of one record, from its predictions and targets
LOSSES = {
    "sse": lambda p, y: 0.5 * math.fsum((b - a) ** 2 for a, b in zip(p, y, strict=True)),
    "mse": lambda p, y: math.fsum((b - a) ** 2 for a, b in zip(p, y, strict=True)) / len(p),
    "huber": lambda p, y: math.fsum(_huber(b - a) for a, b in zip(p, y, strict=True)),
    "poisson": lambda p, y: math.fsum(_poisson(a, b) for a, b in zip(p, y, strict=True)),
    "cross_entropy": lambda p, y: -math.fsum(b * a for a, b in zip(_log_softmax(p), y, strict=True)),
    "binary_cross_entropy": lambda p, y: math.fsum(
        b * _softplus(-a) + (1 - b) * _softplus(a) for a, b in zip(p, y, strict=True)
    ),
}


def targets(loss, shape, rng):
    """Return targets that fit the loss: classes, counts, yes or no, or numbers."""
    if loss == "cross_entropy":
        return np.eye(shape[1])[rng.integers(shape[1], size=shape[0])]
    if loss == "binary_cross_entropy":
        return rng.integers(2, size=shape).astype(float)
    if loss == "poisson":
        return rng.poisson(1.5, size=shape).astype(float)
    return 2.0 * rng.standard_normal(shape)


def directional_derivative(f, point, direction, h=1e-4):
    """Return the derivative of f along a direction by central differences of fourth order."""
    near = f(point + h * direction) - f(point - h * direction)
    far = f(point + 2 * h * direction) - f(point - 2 * h * direction)
    return (8 * near - far) / (12 * h)
