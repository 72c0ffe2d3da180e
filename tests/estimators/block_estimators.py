"""Estimators of networks of blocks: a network, settings and data that several test modules share."""

from dataclasses import dataclass

import numpy as np

import gdkernels as gd

b = gd.blocks
RNG = np.random.default_rng(5)
X = RNG.standard_normal((120, 4))
NUMBERS = X[:, 0] * X[:, 1] + 0.1 * X[:, 2]
PAIRS = np.stack([NUMBERS, X[:, 3] ** 2], axis=1)
LABELS = np.where(NUMBERS > 0.4, "high", np.where(NUMBERS > -0.4, "some", "low"))


@dataclass(frozen=True)
class TanhGate(b.Block):
    """A block of the user's."""

    units: int

    def parameters(self, inputs):
        return {"U": ((inputs, self.units), b.InitialWeights()), "b": ((self.units,), 0.0, False)}

    def outputs(self, inputs):
        return self.units

    def __call__(self, p, a, *, xp, random=None):
        z = xp.matmul(a, p["U"]) + p["b"]
        return z * xp.tanh(z)


# What has constants, a parameter that decays and is not called W, one that does not, a residual, a user's own.
BLOCKS = b.Sequential(b.Dense(6, "relu"), b.Residual(b.LayerNorm(), TanhGate(6)), b.Periodic(2), b.Gated(5))
SETTINGS = {"network": BLOCKS, "random_state": 0, "max_iter": 6, "batch_size": 40, "learning_rate_init": 0.01}
CHAIN = b.Sequential(b.Dense(7, "tanh"), b.Dense(5, "relu"))


def same(one, other):
    """Assert that two estimators have the same arrays, to the bit."""
    assert one.parameters_.keys() == other.parameters_.keys()
    for name, array in one.parameters_.items():
        np.testing.assert_array_equal(array, other.parameters_[name], err_msg=name)
