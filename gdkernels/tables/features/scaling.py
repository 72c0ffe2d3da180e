"""Standardising: numbers of any unit to a mean of 0 and a deviation of 1, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gdkernels.errors import InputError
from gdkernels.tables.column.column_data import Floats

__all__ = ["Scaling", "count_distinct", "median", "refuse_extremes", "skewness"]

_WIDEST = 1e150  # between the lowest and the highest number: the squares of many such differences have a finite sum
_POWERS = tuple(10.0**k for k in range(7))  # of ten, that numbers of few figures are quotients by
_TICKS_A_NUMBER = 4
_PIECE = 16_384  # numbers: they stay in a processor's cache
_WHOLE = 2.0**52  # beyond it, no number has a fraction


@dataclass(frozen=True)
class Scaling:
    """(values − `mean`) / `scale`, column by column."""

    mean: Floats
    scale: Floats

    @classmethod
    def fit(cls, values: Floats, names: Sequence[str]) -> Scaling:
        """Learn from `values` [records, columns]; a constant column has the scale 1."""
        with np.errstate(over="ignore", invalid="ignore"):
            mean, scale = values.mean(axis=0), values.std(axis=0)
        for column in np.flatnonzero(~np.isfinite(mean + scale)).tolist():
            raise _too_large(names[column], values[np.argmax(np.abs(values[:, column])), column])
        # A constant column has, by rounding, a deviation of a few units in the last place: it says nothing, and must
        # not be blown up into noise.
        constant = scale <= 10 * np.finfo(np.float64).eps * np.abs(mean)
        return cls(mean, np.where(constant | (scale == 0), 1.0, scale))

    @classmethod
    def none(cls, features: int) -> Scaling:
        """Return the scaling that leaves so many features as they are."""
        return cls(np.zeros(features), np.ones(features))

    def apply(self, values: Floats) -> Floats:
        return (values - self.mean) / self.scale

    def undo(self, values: Floats) -> Floats:
        return values * self.scale + self.mean

    def to_json(self) -> dict[str, Any]:
        return {"mean": self.mean.tolist(), "scale": self.scale.tolist()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Scaling:
        """Return what `to_json` described; ValueError where it is none."""
        mean, scale = (np.array(value[name], np.float64) for name in ("mean", "scale"))
        if mean.ndim != 1 or mean.shape != scale.shape or not np.isfinite(mean + scale).all() or (scale == 0).any():
            raise ValueError("no scaling")
        return cls(mean, scale)


def refuse_extremes(name: str, values: Floats) -> None:
    """Refuse numbers, some of which may be NaN, that lie too far apart, or too close to 0, for a deviation.

    Raises
    ------
    InputError
        Then; it names the column and the number that is furthest out.
    """
    low, high = (float(end.reduce(values, initial=np.nan)) for end in (np.fmin, np.fmax))
    if high / 2 - low / 2 > _WIDEST / 2:
        furthest = int(np.nanargmax(np.abs(values)))
        raise _too_large(name, values[furthest], f" in record {furthest + 1:,}")
    if 0 < high - low < 1 / _WIDEST:
        raise InputError(
            f"column {name!r} has numbers too small to be standardised, from {low:g} to {high:g}: scale the column"
        )


def _too_large(name: str, furthest: float, where: str = "") -> InputError:
    return InputError(
        f"column {name!r} has numbers too large to be standardised, such as {furthest:g}{where}: correct them, or "
        "scale the column"
    )


def skewness(values: Floats) -> float:
    """Return the mean cube of the standardised values: 0 for symmetric ones, 2 for an exponential distribution."""
    with np.errstate(over="ignore", invalid="ignore"):
        deviation = values.std()
        if not deviation > 0:
            return 0.0
        standardised = values - values.mean()
        standardised /= deviation
        cubes = standardised * standardised
        cubes *= standardised
        skew = float(np.mean(cubes))
    return skew if np.isfinite(skew) else 0.0


def count_distinct(values: Floats) -> int:
    """Return how many different numbers there are, none of which is NaN."""
    if (found := _count_decimals(values)) is not None:
        return found
    ordered = np.sort(values)
    return int(np.count_nonzero(ordered[1:] != ordered[:-1])) + min(1, len(values))


def _count_decimals(values: Floats) -> int | None:
    """Return how many numbers of few figures differ, in a fifth of the time of sorting them; None for other numbers.

    A number that is the quotient of a whole number and a power of ten is told by that whole number, and these are
    ticked off in a list, if it is not much longer than there are numbers.
    """
    if not len(values):
        return 0
    low, high = float(values.min()), float(values.max())
    for power in _POWERS:
        # Also false for an infinite span.
        if not ((high - low) * power < _TICKS_A_NUMBER * len(values) and max(-low, high) * power < _WHOLE):
            return None
        if _are_quotients(values[:_PIECE], power):
            break
    else:
        return None
    first = round(low * power)
    ticked = np.zeros(round(high * power) - first + 1, np.bool_)
    for begin in range(0, len(values), _PIECE):
        piece = values[begin : begin + _PIECE]
        whole = np.rint(piece * power)
        if not (whole / power == piece).all():
            return None
        ticked[whole.astype(np.int64) - first] = True
    return int(np.count_nonzero(ticked))


def _are_quotients(values: Floats, power: float) -> bool:
    return bool((np.rint(values * power) / power == values).all())


def median(values: Floats) -> float:
    """Return the median of numbers [n], n > 0, none of which is NaN, in a fifth of the time that NumPy takes."""
    half = len(values) // 2
    parted = np.partition(values, half)
    upper = float(parted[half])
    return upper if len(values) % 2 else (float(parted[:half].max()) + upper) / 2
