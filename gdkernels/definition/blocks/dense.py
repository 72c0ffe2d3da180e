"""A dense layer, and its initial weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.definition.activations import Activation, identity
from gdkernels.definition.blocks.block import Block, Parameter, Values
from gdkernels.definition.blocks.checks import check_block, checked_activation, checked_width
from gdkernels.graph import Node, returned, value_and_derivative
from gdkernels.system.given import checked_switch

__all__ = ["Activated", "Dense", "InitialWeights", "activated", "is_rectifier"]

_FAR = 10.0  # where every smooth rectifier in use has reached its asymptotes


def is_rectifier(f: Activation) -> bool:
    """Return whether `f` is relu-like: it lets one side through and holds back the other.

    Found from the derived slope, not from a list, so that a user's own activation is recognised too: between the far
    left and the far right the slope grows by about 1, and the far left is small.

    Raises
    ------
    TraceError
        If `f` cannot be recorded; the message names the operation and the line.
    """
    with np.errstate(all="ignore"):  # a user's function may overflow here; then it is no rectifier
        value, slope = value_and_derivative(f)(np.asarray([[-_FAR], [_FAR]]), xp=np)
    return bool(0.5 < slope[1, 0] - slope[0, 0] < 1.5 and abs(value[0, 0]) < 0.5 * _FAR)


@dataclass(frozen=True)
class InitialWeights:
    """Weights [inputs, units] before an activation.

    They are uniform within ±√(6 / inputs) before a relu-like activation (He et al. 2015, arXiv:1502.01852), within
    ±√(6 / (inputs + units)) before others (Glorot & Bengio 2010).
    """

    before: Activation = identity

    def __call__(self, shape: tuple[int, ...], generator: np.random.Generator) -> npt.NDArray[np.float64]:
        inputs, units = shape
        bound = math.sqrt(6.0 / (inputs if is_rectifier(self.before) else inputs + units))
        return generator.uniform(-bound, bound, size=shape)


def activated(f: Activation, z: Any, *, xp: Any) -> Any:
    """Return f(z); while it is recorded, refuse what is no number for each unit of each record."""
    a = f(z, xp=xp)
    if isinstance(z, Node):
        return returned(a, f, z.shape, "an activation returns a number for each unit of each record")
    return a


@dataclass(frozen=True)
class Dense(Block):
    """f(a W + b): every unit takes every input.

    Parameters
    ----------
    units
        The number of outputs.
    activation
        f: a name, or a function ``f(z, *, xp)``.
    bias
        Whether b is there.
    """

    units: int
    activation: Any = identity
    bias: bool = True

    def __post_init__(self) -> None:
        checked_width(self, "units")
        checked_activation(self, "activation")
        object.__setattr__(self, "bias", checked_switch("bias", self.bias))

    def parameters(self, inputs: int) -> Mapping[str, Parameter]:
        W = Parameter((inputs, self.units), InitialWeights(self.activation))
        return {"W": W, "b": Parameter((self.units,), 0.0, decays=False)} if self.bias else {"W": W}

    def outputs(self, inputs: int) -> int:
        return self.units

    def __call__(self, p: Values, a: Any, *, xp: Any, random: Any = None) -> Any:
        z = xp.matmul(a, p["W"])
        return activated(self.activation, z + p["b"] if self.bias else z, xp=xp)


@dataclass(frozen=True)
class Activated(Block):
    """f of a block's outputs, the block's parameters under the names that it gives them.

    Parameters
    ----------
    block
        The block.
    activation
        f: a name, or a function ``f(z, *, xp)``.
    """

    block: Block
    activation: Any = identity

    def __post_init__(self) -> None:
        check_block("Activated", self.block)
        checked_activation(self, "activation")

    def parameters(self, inputs: int) -> Mapping[str, Parameter]:
        return self.block.parameters(inputs)

    def constants(self, inputs: int) -> Mapping[str, npt.NDArray[Any]]:
        return self.block.constants(inputs)

    def outputs(self, inputs: int) -> int:
        return self.block.outputs(inputs)

    def widths(self, inputs: int) -> tuple[int, ...]:
        return self.block.widths(inputs)

    def __call__(self, p: Values, a: Any, *, xp: Any, random: Any = None) -> Any:
        return activated(self.activation, self.block(p, a, xp=xp, random=random), xp=xp)
