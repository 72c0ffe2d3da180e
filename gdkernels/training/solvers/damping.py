"""What an iteration of Levenberg–Marquardt leaves to the next: damping, precision, and what the evidence chose."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gdkernels.definition.solvers import LevenbergMarquardt
from gdkernels.training.solvers.bending import Bending
from gdkernels.training.solvers.evidence import BayesianEvidence
from gdkernels.training.solvers.least_squares_problem import LeastSquaresProblem
from gdkernels.training.solvers.outcome import Memory

__all__ = ["Damping"]

# Products of fewer FLOPs save no time in float32 that anybody would notice.
_FEW_FLOPS = 2e7


@dataclass(frozen=True)
class Damping:
    """What an iteration leaves to the next.

    Attributes
    ----------
    damping, growth
        λ, 0 before it is known; and what it is multiplied by where a step fails.
    dtype
        The precision in which points are computed.
    bending
        Whether bent steps have paid.
    evidence
        The weights of error and penalty that the evidence chose; None where nobody asked for it.
    """

    damping: float
    growth: float
    dtype: str
    bending: Bending
    evidence: BayesianEvidence | None

    @classmethod
    def of(cls, memory: Memory, solver: LevenbergMarquardt, problem: LeastSquaresProblem, count: int) -> Damping:
        kept = memory.get("damping")
        if kept is not None and kept.shape == (7,):  # before steps were bent
            kept = np.insert(kept, 3, [0.0, 0.0])
        if kept is None or kept.shape != (9,):
            narrow = not problem.wide or (problem.records * count**2 > _FEW_FLOPS and not solver.bayes)
            evidence = BayesianEvidence.first() if solver.bayes else None
            return cls(0.0, 2.0, "float32" if narrow else "float64", Bending(), evidence)
        damping, growth, wide, pause, left, *numbers = kept.tolist()
        evidence = BayesianEvidence(*numbers) if solver.bayes else None
        return cls(damping, growth, "float64" if wide else "float32", Bending(int(pause), int(left)), evidence)

    def as_memory(self) -> Memory:
        evidence = (0.0,) * 4 if self.evidence is None else self.evidence.as_numbers()
        wide, bending = self.dtype == "float64", self.bending
        return {"damping": np.array([self.damping, self.growth, wide, bending.pause, bending.left, *evidence])}
