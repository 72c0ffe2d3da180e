"""L-BFGS, an iteration at a time: a direction from the last steps, and a search along it (Nocedal & Wright 2006)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gdkernels.definition.solvers import LBFGS
from gdkernels.training.solvers.outcome import Memory, Outcome, Vector, converged, not_finite

__all__ = ["Evaluated", "lbfgs_iteration"]

_FALL, _FLATTER = 1e-4, 0.9  # Wolfe's conditions: of the value, and of the slope along the direction
_MOST = 20  # points in a search


@dataclass(frozen=True)
class Evaluated:
    """A point with its value and gradient, of the mean loss with its penalty, and E there."""

    vector: Vector
    value: float
    gradient: Vector
    error: float


Evaluate = Callable[[Vector], Evaluated]


def lbfgs_iteration(solver: LBFGS, evaluate: Evaluate, here: Evaluated, memory: Memory) -> tuple[Outcome, Evaluated]:
    """Return what one iteration leads to, and its point, evaluated.

    Raises
    ------
    DivergenceError
        If the loss or its gradient is not finite where it begins.
    """
    norm = float(np.linalg.norm(here.gradient))
    if not (math.isfinite(here.value) and math.isfinite(norm)):
        raise not_finite("the loss or its gradient")
    if not here.gradient.size or np.abs(here.gradient).max() <= solver.gradient_tolerance:
        why = f"no entry of the gradient is larger than {solver.gradient_tolerance:g}"
        return Outcome(here.vector, here.error, memory, norm, 0.0, stop=converged(why)), here
    pairs = _pairs(memory, len(here.vector))
    found = _along(evaluate, here, _direction(here.gradient, pairs), 1.0 if pairs.size else _first_length(norm))
    if found is None and pairs.size:  # what the steps tell may have aged: once more along the gradient alone
        pairs = pairs[:, :0]
        found = _along(evaluate, here, -here.gradient, _first_length(norm))
    if found is None:
        stop = converged("no step lowers the loss any more")
        return Outcome(here.vector, here.error, {"pairs": pairs}, norm, 0.0, stop=stop), here
    length, there = found
    step, change = there.vector - here.vector, there.gradient - here.gradient
    if float(step @ change) > 1e-10 * float(change @ change) * 1e-6:
        pairs = np.concatenate([pairs, np.stack([step, change])[:, None, :]], axis=1)[:, -solver.memory :]
    return Outcome(there.vector, there.error, {"pairs": pairs}, norm, length), there


def _pairs(memory: Memory, count: int) -> Vector:
    """Return the last steps and the changes of the gradient along them, [2, steps, parameters]."""
    kept = memory.get("pairs")
    return np.zeros((2, 0, count)) if kept is None or kept.shape[2:] != (count,) else kept


def _first_length(norm: float) -> float:
    """Return the first length along a gradient, whose scale says nothing about that."""
    return min(1.0, 1.0 / norm)


def _direction(gradient: Vector, pairs: Vector) -> Vector:
    """Return −H g by the two loops over the last steps."""
    q, shares = gradient.copy(), []
    steps, changes = pairs
    for step, change in zip(steps[::-1], changes[::-1], strict=True):
        share = float(step @ q) / float(step @ change)
        q -= share * change
        shares.append(share)
    if len(steps):
        q *= float(steps[-1] @ changes[-1]) / float(changes[-1] @ changes[-1])
    for step, change, share in zip(steps, changes, reversed(shares), strict=True):
        q += (share - float(change @ q) / float(step @ change)) * step
    return -q


def _along(evaluate: Evaluate, here: Evaluated, direction: Vector, length: float) -> tuple[float, Evaluated] | None:
    """Return a length along a direction where both of Wolfe's conditions hold, or the lowest point that was seen.

    None means that no point is lower.
    """
    slope = float(here.gradient @ direction)
    if not (math.isfinite(slope) and slope < 0):
        return None
    low, low_value, low_slope = 0.0, here.value, slope
    high: tuple[float, float] | None = None  # a length that is too long, and its value
    best: tuple[float, Evaluated] | None = None
    for _ in range(_MOST):
        there = evaluate(here.vector + length * direction)
        fell = math.isfinite(there.value) and bool(np.isfinite(there.gradient).all())
        if fell and there.value < (here.value if best is None else best[1].value):
            best = length, there
        if not fell or there.value > here.value + _FALL * length * slope or there.value >= low_value:
            high = length, there.value if fell else math.inf
        else:
            slope_there = float(there.gradient @ direction)
            if abs(slope_there) <= -_FLATTER * slope:
                return length, there
            if slope_there > 0 or (high is not None and slope_there * (high[0] - low) >= 0):
                high = low, low_value
            low, low_value, low_slope = length, there.value, slope_there
        length = 2.0 * length if high is None else _between(low, low_value, low_slope, *high)
        if high is not None and abs(high[0] - low) <= 1e-12 * max(1.0, length):
            break
    return best


def _between(low: float, low_value: float, low_slope: float, high: float, high_value: float) -> float:
    """Return where a parabola through both ends is lowest, not too near to either."""
    width = high - low
    curve = 2.0 * (high_value - low_value - low_slope * width)
    at = -low_slope * width / curve if math.isfinite(curve) and curve > 0 else 0.5
    return low + min(max(at, 0.1), 0.9) * width
