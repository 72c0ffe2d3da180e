"""Dropout: noise that training gets along with, and prediction does not have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.definition.blocks.block import Block, Values
from gdkernels.definition.checks import check_number

__all__ = ["Dropout"]

_STEPS = 1 << 24  # random numbers are multiples of 1 / _STEPS, in float32 and in float64


@dataclass(frozen=True)
class Dropout(Block):
    """In training, 0 in place of some inputs at random, and the others times 1 / (1 − rate); in prediction, the inputs.

    Srivastava et al. 2014 (jmlr.org/papers/v15/srivastava14a.html). The same inputs are dropped on every backend.

    Parameters
    ----------
    rate
        The probability that an input is dropped, at least 0 and below 1.
    """

    rate: float = 0.1

    def __post_init__(self) -> None:
        check_number(self, "rate", lambda v: 0 <= v <= 1 - 1 / _STEPS, "a number of at least 0 and below 1")

    def constants(self, inputs: int) -> Mapping[str, npt.NDArray[Any]]:
        return {"unit": np.arange(float(inputs))}

    def __call__(self, p: Values, a: Any, *, xp: Any, random: Any = None) -> Any:
        dropped = round(self.rate * _STEPS) / _STEPS  # the same in every precision
        if random is None or not dropped:
            return a
        kept = random.uniform(p["unit"], xp=xp) >= dropped
        return xp.where(kept, a * (1.0 / (1.0 - dropped)), 0.0)
