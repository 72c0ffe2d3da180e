"""What an iteration of a solver takes and returns: vectors of all the parameters that are trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.errors import DivergenceError
from gdkernels.training.history import Stop, StopReason

__all__ = ["Memory", "Outcome", "Vector", "converged", "not_finite"]

Vector = npt.NDArray[np.float64]
Memory = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Outcome:
    """The end of an iteration.

    Attributes
    ----------
    vector, error
        The parameters after it, and E there.
    memory
        What the next iteration goes on with, besides the parameters.
    norm
        The norm of the gradient of the mean loss, with its penalty, before the iteration.
    length
        How far the step went along the direction that was chosen.
    figures
        What else an epoch tells.
    stop
        Why this is the last iteration; None where it goes on.
    """

    vector: Vector
    error: float
    memory: Memory
    norm: float
    length: float = 1.0
    figures: dict[str, Any] = field(default_factory=dict)
    stop: Stop | None = None


def converged(why: str) -> Stop:
    """Return the end of a training that has nothing left to gain."""
    return Stop(StopReason.CONVERGED, f"converged: {why}")


def not_finite(what: str) -> DivergenceError:
    """Return the error for a point that no step can be chosen from."""
    return DivergenceError(f"{what} is not finite at these parameters; scale the data, or draw other initial weights")
