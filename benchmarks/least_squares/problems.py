"""Problems of least squares with exact, or nearly exact, fits; and a noisy table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

__all__ = ["PROBLEMS", "FitProblem", "diabetes", "initial_layers", "parameter_count"]

Array = npt.NDArray[np.float64]

_LENGTHS = np.array([1, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2])  # of the parts of an arm


@dataclass(frozen=True)
class FitProblem:
    """Records, and the sizes of the tanh network that is to fit them.

    Attributes
    ----------
    sooner, lower
        The goals: how many times sooner than Adam its error of the end should be reached, and the share of L-BFGS's
        error of the end that should be reached by then. None where there is none.
    """

    name: str
    records: Callable[[], tuple[Array, Array]]
    sizes: tuple[int, ...]
    sooner: float | None = None
    lower: float | None = None


def sine() -> tuple[Array, Array]:
    """Three half waves of a sine."""
    x = np.linspace(-1, 1, 500)[:, None]
    return x, np.sin(3 * np.pi * x)


def peaks() -> tuple[Array, Array]:
    """MATLAB's function peaks at 2,000 random places, a third as high."""
    X = np.random.default_rng(0).uniform(-3, 3, (2000, 2))
    x, y = X.T
    z = 3 * (1 - x) ** 2 * np.exp(-(x**2) - (y + 1) ** 2)
    z -= 10 * (x / 5 - x**3 - y**5) * np.exp(-(x**2) - y**2)
    z -= np.exp(-((x + 1) ** 2) - y**2) / 3
    return X / 3 * 1.7, z[:, None] / 3


def spirals() -> tuple[Array, Array]:
    """Two spirals of 200 points each, whose numbers 1 and −1 tell them apart."""
    t = np.sqrt(np.random.default_rng(0).uniform(0.05, 1, 200)) * 3 * np.pi
    a = np.stack([t * np.cos(t), t * np.sin(t)], 1) / (3 * np.pi) * 2
    return np.vstack([a, -a]), np.r_[np.ones(200), -np.ones(200)][:, None]


def robot() -> tuple[Array, Array]:
    """How far the hand of an arm with eight joints is from a place, as in the table kin8nm without its noise."""
    X = np.random.default_rng(0).uniform(-1.2, 1.2, (4096, 8))
    angles = np.cumsum(X * 0.6, 1)
    distance = np.hypot((np.cos(angles) * _LENGTHS).sum(1) - 1, (np.sin(angles) * _LENGTHS).sum(1) - 0.5)
    return X / 0.69, ((distance - distance.mean()) / distance.std())[:, None]


def hand() -> tuple[Array, Array]:
    """Where the hand of an arm with five joints is: two outputs."""
    X = np.random.default_rng(0).uniform(-1.2, 1.2, (4096, 5))
    angles = np.cumsum(X * 0.7, 1)
    Y = np.stack([(f(angles) * _LENGTHS[:5]).sum(1) for f in (np.cos, np.sin)], 1)
    return X / 0.69, (Y - Y.mean(0)) / Y.std(0)


PROBLEMS = {
    p.name: p
    for p in (
        FitProblem("sine", sine, (1, 10, 1), sooner=10, lower=1 / 10),
        FitProblem("peaks", peaks, (2, 20, 20, 1), sooner=4, lower=1 / 10),
        FitProblem("spirals", spirals, (2, 20, 20, 1), sooner=10, lower=1 / 10),
        FitProblem("robot", robot, (8, 30, 1), sooner=10, lower=1 / 5),
        FitProblem("robot-841", robot, (8, 24, 24, 1), sooner=1),
        FitProblem("hand", hand, (5, 20, 20, 2), sooner=1),
    )
}


def parameter_count(sizes: tuple[int, ...]) -> int:
    return sum((m + 1) * n for m, n in pairwise(sizes))


def initial_layers(sizes: tuple[int, ...], seed: int) -> list[tuple[Array, Array]]:
    """Return the same initial weights for every method (Glorot & Bengio 2010)."""
    draw = np.random.default_rng(seed)
    return [(draw.uniform(-1, 1, m * n).reshape(m, n) * np.sqrt(6 / (m + n)), np.zeros(n)) for m, n in pairwise(sizes)]


def diabetes() -> tuple[Array, Array]:
    """442 patients of scikit-learn's table, standardised: much noise."""
    from sklearn.datasets import load_diabetes

    X, y = load_diabetes(return_X_y=True)
    return (X - X.mean(0)) / X.std(0), ((y - y.mean()) / y.std())[:, None]
