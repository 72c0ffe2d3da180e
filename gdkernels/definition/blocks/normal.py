"""Blocks that shift and scale what a record holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gdkernels.definition.blocks.block import Block, Parameter, Values
from gdkernels.definition.checks import check_number
from gdkernels.system.given import checked_switch

__all__ = ["LayerNorm", "Scale"]


@dataclass(frozen=True)
class LayerNorm(Block):
    """(a − mean) / √(variance + ε) ∘ scale + shift, mean and variance over each record.

    Ba et al. 2016, arXiv:1607.06450.

    Parameters
    ----------
    epsilon
        ε, which keeps a record without any variance finite.
    affine
        Whether scale and shift are there.
    """

    epsilon: float = 1e-5
    affine: bool = True

    def __post_init__(self) -> None:
        check_number(self, "epsilon", lambda v: v > 0, "a finite number above 0")
        object.__setattr__(self, "affine", checked_switch("affine", self.affine))

    def parameters(self, inputs: int) -> Mapping[str, Parameter]:
        if not self.affine:
            return {}
        return {
            "scale": Parameter((inputs,), 1.0, decays=False),
            "shift": Parameter((inputs,), 0.0, decays=False),
        }

    def __call__(self, p: Values, a: Any, *, xp: Any, random: Any = None) -> Any:
        centred = a - xp.mean(a, axis=-1, keepdims=True)
        variance = xp.mean(centred * centred, axis=-1, keepdims=True)
        a = centred * (1.0 / xp.sqrt(variance + self.epsilon))  # a division for each record, not for each unit
        return a * p["scale"] + p["shift"] if self.affine else a


@dataclass(frozen=True)
class Scale(Block):
    """a ∘ scale: each input times a number that is learned.

    Parameters
    ----------
    initial
        The number before training.
    """

    initial: float = 1.0

    def __post_init__(self) -> None:
        check_number(self, "initial", lambda v: True, "a finite number")

    def parameters(self, inputs: int) -> Mapping[str, Parameter]:
        return {"scale": Parameter((inputs,), self.initial, decays=False)}

    def __call__(self, p: Values, a: Any, *, xp: Any, random: Any = None) -> Any:
        return a * p["scale"]
