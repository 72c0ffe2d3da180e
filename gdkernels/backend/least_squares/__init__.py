"""Least squares: rows of the Jacobian from the trace of a network, and the normal equations that they add up to.

Code here computes at a point that somebody chooses. Choosing points is for the solvers of `gdkernels.training`.
"""

from gdkernels.backend.least_squares.normal_equations import Normal, NormalEquations, Tiles

__all__ = ["Normal", "NormalEquations", "Tiles"]
