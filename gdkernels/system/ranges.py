"""Ranges of numbers that arguments take, with the words of their errors."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

__all__ = ["FINITE", "POSITIVE", "SHARE", "NumberRange", "at_least", "whole"]


@dataclass(frozen=True)
class NumberRange:
    """Numbers that an argument takes; `wanted` says which, as in "must be a finite number above 0"."""

    wanted: str
    within: Callable[[float], bool]
    whole: bool = False

    def has(self, value: object) -> bool:
        """Return whether `value` is such a number."""
        kinds = (int, np.integer) if self.whole else (int, float, np.integer, np.floating)
        if isinstance(value, (bool, np.bool_)) or not isinstance(value, kinds):
            return False
        try:
            return math.isfinite(value) and bool(self.within(float(value)))
        except OverflowError:  # a whole number beyond all floats
            return False


def whole(least: int) -> NumberRange:
    """Return the whole numbers of at least `least`."""
    return NumberRange(f"a whole number of at least {least}", lambda v: v >= least, whole=True)


def at_least(least: float) -> NumberRange:
    """Return the finite numbers of at least `least`."""
    return NumberRange(f"a finite number of at least {least:g}", lambda v: v >= least)


FINITE = NumberRange("a finite number", lambda v: True)
POSITIVE = NumberRange("a finite number above 0", lambda v: v > 0)
SHARE = NumberRange("a number of at least 0 and below 1", lambda v: 0 <= v < 1)
