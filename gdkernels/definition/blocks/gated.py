"""Gated linear units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gdkernels.definition.activations import sigmoid
from gdkernels.definition.blocks.block import Block, Parameter, Values
from gdkernels.definition.blocks.checks import checked_activation, checked_width
from gdkernels.definition.blocks.dense import InitialWeights, activated

__all__ = ["Gated"]


@dataclass(frozen=True)
class Gated(Block):
    """(a W + b) ∘ f(a V + c): f opens and closes a gate for each unit (Dauphin et al. 2017, arXiv:1612.08083).

    With "gelu" it is GEGLU, with "silu" SwiGLU (Shazeer 2020, arXiv:2002.05202).

    Parameters
    ----------
    units
        The number of outputs.
    activation
        f: a name, or a function ``f(z, *, xp)``.
    bias
        Whether b and c are there.
    """

    units: int
    activation: Any = sigmoid
    bias: bool = True

    def __post_init__(self) -> None:
        checked_width(self, "units")
        checked_activation(self, "activation")
        object.__setattr__(self, "bias", bool(self.bias))

    def parameters(self, inputs: int) -> Mapping[str, Parameter]:
        weights = Parameter((inputs, self.units), InitialWeights())
        bias = Parameter((self.units,), 0.0, decays=False)
        found = {"W": weights, "b": bias, "V": weights, "c": bias}
        return found if self.bias else {"W": weights, "V": weights}

    def outputs(self, inputs: int) -> int:
        return self.units

    def widths(self, inputs: int) -> tuple[int, ...]:
        return (self.units,) * 3

    def __call__(self, p: Values, a: Any, *, xp: Any, random: Any = None) -> Any:
        value, gate = xp.matmul(a, p["W"]), xp.matmul(a, p["V"])
        if self.bias:
            value, gate = value + p["b"], gate + p["c"]
        return value * activated(self.activation, gate, xp=xp)
