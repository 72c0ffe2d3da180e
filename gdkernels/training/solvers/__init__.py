"""Solvers: training that chooses each step from all the records, an iteration an epoch.

Code here chooses points and steps, on the host and in float64. What is computed at a point, such as an error or normal
equations, belongs to `gdkernels.backend`; the rules of optimizers, number by number, to `gdkernels.definition`.
"""

from gdkernels.training.solvers.runner import SolverRunner
from gdkernels.training.solvers.value import Gradient, ValueAndGradient

__all__ = ["Gradient", "SolverRunner", "ValueAndGradient"]
