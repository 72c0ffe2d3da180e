"""The point of greatest evidence on the way of a fit: where it goes back to when the evidence rises no more."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from gdkernels.training.solvers.evidence import BayesianEvidence
from gdkernels.training.solvers.least_squares_problem import LeastSquaresProblem
from gdkernels.training.solvers.outcome import Memory, Vector

__all__ = ["WAITS", "LikeliestPoint", "of_these_records"]

WAITS = 10  # iterations without a rise, after which none is expected
_RISE = 0.1  # of the logarithm; 1 is what anybody calls worth a mention
_SAME = 1e-4  # the share by which an error may differ that is computed in another order, or in float32


@dataclass(frozen=True)
class LikeliestPoint:
    """The point at which the evidence was greatest.

    Where error and penalty are weighed anew in each iteration, both drift on after the evidence was greatest: to
    parameters that fit the noise, or to units that are as good as linear. The evidence says where to stop.

    Attributes
    ----------
    vector, error, evidence
        The parameters, E there, and the weights that the data spoke for there.
    waited
        For how many iterations the evidence has not risen by anything to speak of.
    """

    vector: Vector
    error: float
    evidence: BayesianEvidence
    waited: int = 0

    @classmethod
    def of(cls, memory: Memory, vector: Vector) -> LikeliestPoint | None:
        """Return the one that an iteration left, None if it did not lead to where this one begins."""
        kept, ended = memory.get("likeliest"), memory.get("ended")
        if kept is None or ended is None or not np.array_equal(ended, vector):
            return None
        waited, error, *numbers = kept[:7].tolist()
        return cls(kept[7:], error, BayesianEvidence(*numbers), int(waited))

    @classmethod
    def beside(
        cls, known: LikeliestPoint | None, vector: Vector, error: float, evidence: BayesianEvidence
    ) -> LikeliestPoint | None:
        """Return the better one of the known one and another point, whose evidence may be unknown."""
        found = evidence.log_evidence
        if found is None or known is None or known.evidence.log_evidence is None:
            return known if found is None else cls(vector, error, evidence)
        rise = found - known.evidence.log_evidence
        waited = 0 if rise > _RISE else known.waited + 1
        return cls(vector, error, evidence, waited) if rise > 0 else replace(known, waited=waited)

    @property
    def waits_in_vain(self) -> bool:
        return self.waited >= WAITS

    def as_memory(self, ended: Vector) -> Memory:
        """Return what the next iteration finds, which begins where this one ended."""
        numbers = self.waited, self.error, *self.evidence.as_numbers(), self.evidence.log_evidence
        return {"likeliest": np.concatenate([np.array(numbers, np.float64), self.vector]), "ended": ended}


def of_these_records(memory: Memory, vector: Vector, problem: LeastSquaresProblem) -> Memory:
    """Return a memory without the likeliest point if that was found on other records, where it had another error."""
    known = LikeliestPoint.of(memory, vector)
    if known is None:
        return memory
    error = problem.error(known.vector, "float64" if problem.wide else "float32")
    if math.isclose(error, known.error, rel_tol=_SAME):
        return memory
    return {name: kept for name, kept in memory.items() if name != "likeliest"}
