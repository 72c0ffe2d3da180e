"""Blocks that spread each number over several inputs, as tables with few columns want (Gorishniy et al. 2022)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from gdkernels.definition.blocks.block import Block, Parameter, Values
from gdkernels.definition.blocks.checks import checked_width
from gdkernels.definition.checks import check_number
from gdkernels.errors import InputError, shown

__all__ = ["Periodic", "PiecewiseLinear"]

_FAR = float(np.finfo(np.float32).max)  # a bound that no number is beyond


@dataclass(frozen=True)
class _Frequencies:
    """2πc with c from a normal distribution; the sine and the cosine of a number begin with the same."""

    count: int
    sigma: float

    def __call__(self, shape: tuple[int, ...], generator: np.random.Generator) -> npt.NDArray[np.float64]:
        drawn = generator.normal(0.0, self.sigma, (shape[0] // (2 * self.count), self.count))
        return 2.0 * math.pi * np.repeat(drawn[:, None, :], 2, axis=1).ravel()


@dataclass(frozen=True)
class Periodic(Block):
    """sin(f a) and cos(f a) of each input, with frequencies f that are learned (arXiv:2203.05556).

    The frequency of a sine and that of a cosine begin with one value, and are learned apart.

    Parameters
    ----------
    frequencies
        How many there are for each input; the outputs are twice as many.
    sigma
        The standard deviation of f / 2π before training: the larger, the finer are the structures that it sees.
    """

    frequencies: int
    sigma: float = 1.0

    def __post_init__(self) -> None:
        checked_width(self, "frequencies")
        check_number(self, "sigma", lambda v: v > 0, "a finite number above 0")

    def parameters(self, inputs: int) -> Mapping[str, Parameter]:
        shape = (self.outputs(inputs),)
        return {"frequency": Parameter(shape, _Frequencies(self.frequencies, self.sigma), decays=False)}

    def constants(self, inputs: int) -> Mapping[str, npt.NDArray[Any]]:
        phases = np.repeat([[-0.5 * math.pi], [0.0]], self.frequencies, axis=1)  # sin z = cos(z − π/2)
        counts = [2 * self.frequencies] * inputs
        return {"spread": _spread(counts), "phase": np.tile(phases.ravel(), inputs)}

    def outputs(self, inputs: int) -> int:
        return 2 * self.frequencies * inputs

    def __call__(self, p: Values, a: Any, *, xp: Any, random: Any = None) -> Any:
        return xp.cos(xp.matmul(a, p["spread"]) * p["frequency"] + p["phase"])


@dataclass(frozen=True)
class PiecewiseLinear(Block):
    """Piecewise linear encoding: how far each input has come through each of its bins, from 0 to 1 (arXiv:2203.05556).

    The first bin goes on below its edge, and the last above.

    Parameters
    ----------
    edges
        For each input the edges of its bins, at least two, rising.
    """

    edges: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        try:
            edges = tuple(tuple(float(e) for e in one) for one in self.edges)
        except (TypeError, ValueError, OverflowError):
            raise InputError(
                f"PiecewiseLinear: edges must be a list of rising numbers for each input, got {shown(self.edges)}"
            ) from None
        for k, one in enumerate(edges):
            if len(one) < 2 or not all(a < b for a, b in itertools.pairwise(one)) or not np.isfinite(one).all():
                raise InputError(f"PiecewiseLinear: the edges of input {k} must be at least two rising numbers: {one}")
        object.__setattr__(self, "edges", edges)

    @classmethod
    def of(cls, X: Any, bins: int = 16) -> Self:
        """Return the block whose bins hold about as many of the records of X [records, inputs] each.

        A column with fewer values has fewer bins.
        """
        if not (isinstance(bins, (int, np.integer)) and bins >= 1):
            raise InputError(f"PiecewiseLinear.of: bins must be a whole number of at least 1, got {shown(bins)}")
        table = np.asarray(X, np.float64)
        if table.ndim != 2 or not len(table) or not np.isfinite(table).all():
            raise InputError("PiecewiseLinear.of takes finite numbers [records, inputs]")
        shares = np.linspace(0.0, 1.0, bins + 1)
        found = [np.unique(np.quantile(column, shares)) for column in table.T]
        return cls(tuple(tuple(e) if len(e) > 1 else (e[0], e[0] + 1.0) for e in found))

    def constants(self, inputs: int) -> Mapping[str, npt.NDArray[Any]]:
        self._check(inputs)
        counts = [len(e) - 1 for e in self.edges]
        begin = np.concatenate([e[:-1] for e in self.edges])
        width = np.concatenate([np.diff(e) for e in self.edges])
        last = np.cumsum(counts)
        low, high = np.zeros(sum(counts)), np.ones(sum(counts))
        low[last - counts], high[last - 1] = -_FAR, _FAR
        return {"spread": _spread(counts), "begin": begin, "scale": 1.0 / width, "low": low, "high": high}

    def outputs(self, inputs: int) -> int:
        self._check(inputs)
        return sum(len(e) - 1 for e in self.edges)

    def _check(self, inputs: int) -> None:
        if inputs != len(self.edges):
            raise InputError(f"PiecewiseLinear has edges for {len(self.edges)} inputs, and there are {inputs}")

    def __call__(self, p: Values, a: Any, *, xp: Any, random: Any = None) -> Any:
        share = (xp.matmul(a, p["spread"]) - p["begin"]) * p["scale"]
        return xp.minimum(xp.maximum(share, p["low"]), p["high"])


def _spread(counts: Sequence[int]) -> npt.NDArray[np.float64]:
    """Return the matrix that repeats each input as often as `counts` says."""
    return np.repeat(np.eye(len(counts)), counts, axis=1)
