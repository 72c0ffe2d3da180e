"""Activations: each is one line of `xp`; its derivative is derived from the line, never written.

A user's own is any function ``f(z, *, xp)`` of an array [records, units]. Lines are chosen so that value and derived
slope are right, and NumPy is silent, at 0, at ±1e4, at both infinities and at NaN (which must come out as NaN, or
training would not notice it: hence the direction of the comparisons). Two exceptions: exp overflows, and softmax of +∞
is NaN, as ∞ − ∞ is.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gdkernels.definition.checks import check_number
from gdkernels.graph import detach

__all__ = [
    "ELU",
    "LeakyReLU",
    "elu",
    "exp",
    "gelu",
    "identity",
    "leaky_relu",
    "relu",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "tanh",
]

Activation = Callable[..., Any]


def identity(z: Any, *, xp: Any) -> Any:
    """Return z."""
    return z


def sigmoid(z: Any, *, xp: Any) -> Any:
    """Return the logistic function 1 / (1 + exp(−z)), as e/(1 + e), whose small values have all their digits."""
    e = xp.exp(xp.where(z > 40.0, 40.0, z))  # 1 from there on, in either precision
    return e / (1.0 + e)


def tanh(z: Any, *, xp: Any) -> Any:
    """Return the hyperbolic tangent."""
    return xp.tanh(z)


def relu(z: Any, *, xp: Any) -> Any:
    """Return max(z, 0), with slope 0 at 0."""
    return xp.where(z <= 0, 0.0, z)


def softplus(z: Any, *, xp: Any) -> Any:
    """Return log(1 + exp(z)), the smooth relu, written so that exp cannot overflow (NumPy's logaddexp warns at NaN)."""
    return xp.maximum(z, 0.0) + xp.log1p(xp.exp(-xp.abs(z)))


def gelu(z: Any, *, xp: Any) -> Any:
    """Return the Gaussian error linear unit in its tanh form (Hendrycks & Gimpel 2016, arXiv:1606.08415)."""
    inner = 0.7978845608028654  # √(2/π)
    return _like_relu(z, lambda u: 0.5 * u * (1.0 + xp.tanh(inner * (u + 0.044715 * u * u * u))), limit=10.0, xp=xp)


def silu(z: Any, *, xp: Any) -> Any:
    """Return z·sigmoid(z) (Elfwing et al. 2018, arXiv:1702.03118)."""
    return _like_relu(z, lambda u: u * sigmoid(u, xp=xp), limit=750.0, xp=xp)


def _like_relu(z: Any, f: Callable[[Any], Any], *, limit: float, xp: Any) -> Any:
    """Return f(z), and its asymptote, relu, from `limit` on, where the two agree to the last float64 bit.

    Without that, the slope at infinity would be ∞·0.
    """
    far = xp.abs(z) > limit
    near = xp.where(far, 0.0, z)
    return xp.where(far, relu(z, xp=xp), f(near))


def exp(z: Any, *, xp: Any) -> Any:
    """Return exp(z): the output of a model of rates, as the poisson loss sets it."""
    return xp.exp(z)


def softmax(z: Any, *, xp: Any) -> Any:
    """Return exp(z) / Σ exp(z) over the units of each record."""
    e = xp.exp(z - detach(xp.max(z, axis=-1, keepdims=True)))
    return e / xp.sum(e, axis=-1, keepdims=True)


@dataclass(frozen=True)
class LeakyReLU:
    """z where positive, `slope`·z elsewhere (Maas et al. 2013)."""

    slope: float = 0.01

    def __post_init__(self) -> None:
        check_number(self, "slope", lambda v: True, "a finite number")

    def __call__(self, z: Any, *, xp: Any) -> Any:
        return xp.where(z > 0, z, self.slope * z)


@dataclass(frozen=True)
class ELU:
    """z where positive, `alpha`·(exp(z) − 1) elsewhere (Clevert et al. 2015, arXiv:1511.07289)."""

    alpha: float = 1.0

    def __post_init__(self) -> None:
        check_number(self, "alpha", lambda v: True, "a finite number")

    def __call__(self, z: Any, *, xp: Any) -> Any:
        positive = z > 0
        return xp.where(positive, z, self.alpha * xp.expm1(xp.where(positive, 0.0, z)))


leaky_relu = LeakyReLU()
elu = ELU()

BY_NAME: dict[str, Activation] = {
    "identity": identity,
    "sigmoid": sigmoid,
    "tanh": tanh,
    "relu": relu,
    "leaky_relu": leaky_relu,
    "elu": elu,
    "softplus": softplus,
    "gelu": gelu,
    "silu": silu,
    "exp": exp,
    "softmax": softmax,
}
