"""What a method of least squares asks of a problem: errors and derivatives at the points that it chooses."""

from __future__ import annotations

from typing import Protocol

from gdkernels.backend.least_squares import Normal
from gdkernels.system.lapack import PositiveSystem
from gdkernels.training.solvers.outcome import Vector

__all__ = ["LeastSquaresProblem"]


class LeastSquaresProblem(Protocol):
    """What is known of the points that a solver may choose."""

    @property
    def records(self) -> int:
        """How many records there are."""

    @property
    def total_weight(self) -> float:
        """What makes E a mean."""

    @property
    def targets(self) -> int | None:
        """The outputs of a record that a noise is judged by; None where the loss is a likelihood as it is."""

    @property
    def penalties(self) -> Vector:
        """The penalty on each parameter, in the unit of E."""

    @property
    def system(self) -> PositiveSystem:
        """What solves systems of as many unknowns as there are parameters."""

    @property
    def wide(self) -> bool:
        """Whether it can be computed in float64."""

    def rounded(self, vector: Vector) -> Vector:
        """Return the nearest point that the network's parameters can be at."""

    def normal(self, vector: Vector, dtype: str) -> Normal:
        """Return what a step needs, computed in `dtype`."""

    def error(self, vector: Vector, dtype: str) -> float:
        """Return E at a point, computed in `dtype`."""

    def bend(self, vector: Vector, step: Vector, dtype: str) -> Vector:
        """Return the gradient that the outputs' own second derivative along a step adds to that of E."""
