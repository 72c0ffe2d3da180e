"""When a step of least squares is bent along the curve of the valley that it goes down."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gdkernels.training.solvers.outcome import Vector

__all__ = ["Bending", "shortened"]

_STRAIGHT = 0.75  # the share of the promised gain from which on a straight step is good enough
# A second order that is longer than this share of half of the first says little, and is made as short.
_MOST = 0.75
_PAYS = 1.25  # how many times a bent step has to gain what a straight one does
_LONGEST_PAUSE = 7


@dataclass(frozen=True)
class Bending:
    """Whether the second order of steps (geodesic acceleration; Transtrum & Sethna 2012) has paid lately.

    Attributes
    ----------
    pause
        For how many steps it was left out when it last did not pay.
    left
        For how many steps it is still left out.
    """

    pause: int = 0
    left: int = 0

    def wanted(self, ratio: float) -> bool:
        """Return whether to bend a step whose error fell by so much of what was promised."""
        return ratio <= 0 or (ratio <= _STRAIGHT and not self.left)

    def after(self, ratio: float, *, bent: float | None) -> Bending:
        """Return what is known after a step: the share of the promise that it kept, and a bent one, if it was tried."""
        if bent is None:
            return self if ratio > _STRAIGHT or not self.left else Bending(self.pause, self.left - 1)
        if bent > max(0.0, _PAYS * ratio):
            return Bending()
        pause = min(_LONGEST_PAUSE, 2 * self.pause + 1)
        return Bending(pause, pause)


def shortened(second: Vector, step: Vector) -> Vector:
    """Return half of the second order of a step, shortened where it is too long to be trusted."""
    longest = 0.5 * _MOST * float(np.sqrt(step @ step))
    length = float(np.sqrt(second @ second))
    return second if length <= longest else second * (longest / length)
