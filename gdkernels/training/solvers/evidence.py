"""The evidence: how much error and penalty weigh, chosen by what the data determine (MacKay 1992)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gdkernels.backend.least_squares import Normal
from gdkernels.training.solvers.least_squares_problem import LeastSquaresProblem
from gdkernels.training.solvers.outcome import Vector

__all__ = ["BayesianEvidence"]

_SETTLED = 3e-3  # the change of a weight, as a share of it, below which it counts as settled


@dataclass(frozen=True)
class BayesianEvidence:
    """The weights β of the error and α of the penalty ½‖w‖², and the parameters that the data determine.

    Attributes
    ----------
    error, penalty
        β, which is one over the variance of the noise, and α, one over that of the parameters.
    effective
        γ = P − α tr(H⁻¹), with H the second derivative of what is minimised; 0 before it is known.
    started
        1 once they were chosen.
    log_evidence
        The logarithm of the probability of the data, with the parameters integrated out, by which starts are compared;
        None before it is known. It is of the point at which an iteration begins.
    """

    error: float
    penalty: float
    effective: float
    started: float
    log_evidence: float | None = None

    @classmethod
    def first(cls) -> BayesianEvidence:
        """Return the weights to begin with: a weak penalty.

        A strong one keeps parameters where they are told nothing: on a sine of three half waves, at a flat line.
        """
        return cls(1.0, 1e-2, 0.0, 0.0)

    def as_numbers(self) -> tuple[float, float, float, float]:
        return self.error, self.penalty, self.effective, self.started

    def judged(self, normal: Normal, vector: Vector, problem: LeastSquaresProblem) -> BayesianEvidence:
        """Return the weights that the data at a point speak for; the present ones where that cannot be computed."""
        count = len(vector)
        system = np.tril(self.error * normal.hessian)
        system += np.tril(system, -1).T
        np.einsum("ii->i", system)[:] += self.penalty
        try:
            factor = np.linalg.cholesky(system)
            trace = float(np.sum(np.linalg.inv(factor) ** 2))
        except np.linalg.LinAlgError:
            return self
        effective = count - self.penalty * trace
        squares, targets = float(vector @ vector), problem.targets
        if not (math.isfinite(effective) and 0 < effective <= count and squares > 0):
            return self
        log_evidence = 0.5 * count * math.log(self.penalty) - float(np.sum(np.log(np.diagonal(factor))))
        log_evidence -= self.error * normal.error + 0.5 * self.penalty * squares
        error = self.error
        if targets is not None:
            log_evidence += 0.5 * targets * problem.total_weight * math.log(error / (2.0 * math.pi))
            left = targets * problem.total_weight - effective
            if left > 0 and normal.error > 0:
                error = left / (2.0 * normal.error)
        return BayesianEvidence(error, effective / squares, effective, 1.0, log_evidence)

    def agrees(self, before: BayesianEvidence) -> bool:
        """Return whether the weights have settled."""
        pairs = ((self.error, before.error), (self.penalty, before.penalty))
        return before.started > 0 and all(abs(new - old) <= _SETTLED * old for new, old in pairs)

    def figures(self, total_weight: float) -> dict[str, float]:
        """Return what an epoch tells."""
        told = {"effective_parameters": self.effective, "penalty": self.penalty / (self.error * total_weight)}
        return told if self.log_evidence is None else {**told, "log_evidence": self.log_evidence}
