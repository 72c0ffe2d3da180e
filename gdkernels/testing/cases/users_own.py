"""Functions, an optimizer and blocks as a user writes them, in no table of built-in ones."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from gdkernels.definition.blocks import Block, Parameter
from gdkernels.definition.blocks.dense import InitialWeights
from gdkernels.definition.optimizers import Optimizer

__all__ = ["Adagrad", "Bilinear", "Noise", "Normed", "Tied", "log_cosh", "mish"]


def mish(z: Any, *, xp: Any) -> Any:
    """Return z·tanh(softplus(z)) (Misra 2019, arXiv:1908.08681)."""
    return z * xp.tanh(xp.logaddexp(z, 0.0))


def log_cosh(prediction: Any, target: Any, *, xp: Any) -> Any:
    """Return Σ_j log cosh(y_j − ŷ_j), scaled per record by the number of outputs."""
    e = prediction - target
    return xp.sum(e + xp.logaddexp(-2.0 * e, 0.0) - math.log(2.0), axis=-1) / prediction.shape[1]


@dataclass(frozen=True)
class Adagrad(Optimizer):
    """s ← s + g², w ← w − (η/√t)·g / (√s + ε): two things that no built-in one does, in one rule."""

    learning_rate: float = 1e-2
    slots: ClassVar[int] = 1

    def rule(self, w: Any, g: Any, slots: Any, *, learning_rate: Any, t: Any, xp: Any) -> tuple[Any, Any]:
        s = slots[0] + g * g
        return w - (learning_rate / t**0.5) * g / (xp.sqrt(s) + 1e-7), (s,)


@dataclass(frozen=True)
class Bilinear(Block):
    """(a U) ∘ (a V) + a: a block whose two products come back into one."""

    def parameters(self, inputs: int) -> dict[str, Parameter]:
        weights = Parameter((inputs, inputs), InitialWeights())
        return {"U": weights, "V": weights}

    def __call__(self, p: Any, a: Any, *, xp: Any, random: Any = None) -> Any:
        return xp.matmul(a, p["U"]) * xp.tanh(xp.matmul(a, p["V"])) + a


@dataclass(frozen=True)
class Tied(Block):
    """tanh(a W) Wᵀ: one parameter in two products."""

    units: int

    def parameters(self, inputs: int) -> dict[str, Parameter]:
        return {"W": Parameter((inputs, self.units), InitialWeights())}

    def __call__(self, p: Any, a: Any, *, xp: Any, random: Any = None) -> Any:
        return xp.matmul(xp.tanh(xp.matmul(a, p["W"])), p["W"].T)


@dataclass(frozen=True)
class Normed(Block):
    """tanh(a V g / |V|) (S + Sᵀ): weights that are computed of parameters."""

    units: int

    def parameters(self, inputs: int) -> dict[str, Parameter]:
        direction, square = (Parameter((n, self.units), InitialWeights()) for n in (inputs, self.units))
        return {"V": direction, "g": Parameter((self.units,), 1.0, decays=False), "S": square}

    def outputs(self, inputs: int) -> int:
        return self.units

    def __call__(self, p: Any, a: Any, *, xp: Any, random: Any = None) -> Any:
        normed = p["V"] * (p["g"] / xp.sqrt(xp.sum(p["V"] ** 2, axis=0) + 0.1))
        return xp.matmul(xp.tanh(xp.matmul(a, normed)), p["S"] + p["S"].T)


@dataclass(frozen=True)
class Noise(Block):
    """a + share·(u − ½)·a with random numbers u in training: a block that draws numbers of its own."""

    share: float

    def constants(self, inputs: int) -> dict[str, Any]:
        return {"unit": np.arange(inputs)}

    def __call__(self, p: Any, a: Any, *, xp: Any, random: Any = None) -> Any:
        return a if random is None else a + self.share * (random.uniform(p["unit"], xp=xp) - 0.5) * a
