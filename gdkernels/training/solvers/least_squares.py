"""Levenberg and Marquardt's damped steps of least squares, on what a problem says of its points."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gdkernels.backend.least_squares import Normal
from gdkernels.definition.solvers import LevenbergMarquardt
from gdkernels.training.history import Stop
from gdkernels.training.solvers.bending import Bending, shortened
from gdkernels.training.solvers.damping import Damping
from gdkernels.training.solvers.evidence import BayesianEvidence
from gdkernels.training.solvers.least_squares_problem import LeastSquaresProblem
from gdkernels.training.solvers.likeliest import WAITS, LikeliestPoint
from gdkernels.training.solvers.outcome import Memory, Outcome, Vector, converged, not_finite

__all__ = ["damped_iteration"]

_LITTLE = 1e-4  # the share of what is minimised that an iteration gains where the evidence is at its end
_MOST_DAMPING = 1e16  # in shares of the largest entry on the diagonal: there, a step is too short to change anything
# How fast the damping falls at most: on two spirals, 0.2 took a fifth fewer steps than Nielsen's third.
_LEAST_SHARE = 0.2
# Products in float32 have said what they can where a step fails that promised so little, or was damped so little.
_PROMISED, _DAMPED = 1e-3, 1e-5


def damped_iteration(
    solver: LevenbergMarquardt, problem: LeastSquaresProblem, vector: Vector, memory: Memory
) -> Outcome:
    """Return what one iteration leads to: the first step that lowers the error, or the reason why there is none.

    Raises
    ------
    DivergenceError
        If no step can be chosen, because the error or its derivatives are not finite.
    """
    now = Damping.of(memory, solver, problem, len(vector))
    here = _Point.at(problem, vector, now)
    if now.evidence is None:
        return _iterated(solver, here, now)
    likeliest, settled = LikeliestPoint.of(memory, vector), False
    if now.damping:
        evidence = now.evidence.judged(here.normal, vector, problem)
        settled = evidence.agrees(now.evidence)
        now = replace(now, evidence=evidence)
        here = here.weighed(evidence)
        likeliest = LikeliestPoint.beside(likeliest, vector, here.normal.error, evidence)
    if likeliest is None:
        return _iterated(solver, here, now)
    if likeliest.waits_in_vain:
        stop = converged(f"the evidence has not risen for {WAITS} iterations")
        return _back_at(likeliest, here, now, stop)
    outcome = _iterated(solver, here, now, settled=settled)
    if outcome.stop is None:
        return replace(outcome, memory={**outcome.memory, **likeliest.as_memory(outcome.vector)})
    asked_for = outcome.error <= solver.error_goal * problem.total_weight
    return outcome if asked_for or not likeliest.waited else _back_at(likeliest, here, now, outcome.stop)


def _back_at(likeliest: LikeliestPoint, here: _Point, now: Damping, stop: Stop) -> Outcome:
    """Return the end of a fit at the point of greatest evidence."""
    now = replace(now, evidence=likeliest.evidence)
    there = here.weighed(likeliest.evidence)
    return Outcome(likeliest.vector, likeliest.error, now.as_memory(), here.norm, figures=there.figures(now), stop=stop)


def _iterated(solver: LevenbergMarquardt, here: _Point, now: Damping, *, settled: bool = False) -> Outcome:
    """Return what one iteration from a point leads to, with the weights of error and penalty as they are."""
    problem, vector, norm = here.problem, here.vector, here.norm
    while True:
        if not here.slope.size or np.abs(here.slope).max() <= solver.gradient_tolerance * here.weight:
            if now.dtype == "float64" or not problem.wide:
                why = f"no entry of the gradient is larger than {solver.gradient_tolerance:g}"
                return here.ended(now, norm, converged(why))
            now = replace(now, dtype="float64")
            here = _Point.at(problem, vector, now)
        tried = _step(solver, problem, here, now)
        if tried.wider:
            now = replace(now, dtype="float64", damping=tried.damping, growth=2.0)
            here = _Point.at(problem, vector, now)
            continue
        break
    now = replace(now, damping=tried.damping, growth=tried.growth, bending=tried.bending)
    if tried.vector is None:
        return here.ended(now, norm, converged("no step lowers the error any more"))
    stop = None
    if tried.error <= solver.error_goal * problem.total_weight:
        stop = converged(f"the mean loss has come down to {solver.error_goal:g}")
    elif settled and tried.gain <= _LITTLE:
        stop = converged("the penalty has settled, and the error with it")
    return Outcome(tried.vector, tried.error, now.as_memory(), norm, figures=here.figures(now), stop=stop)


@dataclass(frozen=True)
class _Point:
    """The point of an iteration: its error and derivatives, with the penalty."""

    problem: LeastSquaresProblem
    vector: Vector
    normal: Normal
    evidence: BayesianEvidence | None
    slope: Vector

    @classmethod
    def at(cls, problem: LeastSquaresProblem, vector: Vector, now: Damping) -> _Point:
        normal = problem.normal(vector, now.dtype)
        if not math.isfinite(normal.error):
            raise not_finite("the loss")
        if not math.isfinite(float(normal.gradient.sum()) + float(normal.hessian.trace())):
            raise not_finite("the derivative of the loss")
        return cls._of(problem, vector, normal, now.evidence)

    @classmethod
    def _of(
        cls, problem: LeastSquaresProblem, vector: Vector, normal: Normal, evidence: BayesianEvidence | None
    ) -> _Point:
        share, penalties = (1.0, problem.penalties) if evidence is None else (evidence.error, evidence.penalty)
        return cls(problem, vector, normal, evidence, share * normal.gradient + penalties * vector)

    def weighed(self, evidence: BayesianEvidence) -> _Point:
        """Return the same point with other weights of error and penalty."""
        return self._of(self.problem, self.vector, self.normal, evidence)

    @property
    def share(self) -> float:
        """The weight of the error in what is minimised."""
        return 1.0 if self.evidence is None else self.evidence.error

    @property
    def penalties(self) -> Any:
        return self.problem.penalties if self.evidence is None else self.evidence.penalty

    @property
    def weight(self) -> float:
        """What makes the gradient that of a mean loss."""
        return self.share * self.problem.total_weight

    @property
    def norm(self) -> float:
        """The norm of the gradient of the mean loss, with its penalty."""
        return float(np.sqrt(self.slope @ self.slope)) / self.weight

    def value(self, vector: Vector, error: float) -> float:
        """Return what is minimised, at a point with this error."""
        return self.share * error + 0.5 * float((self.penalties * vector) @ vector)

    def figures(self, now: Damping) -> dict[str, float]:
        told = {"damping": now.damping / self.share}
        return told if now.evidence is None else told | now.evidence.figures(self.problem.total_weight)

    def ended(self, now: Damping, norm: float, stop: Stop) -> Outcome:
        """Return the end of an iteration that stays where it is."""
        return Outcome(self.vector, self.normal.error, now.as_memory(), norm, figures=self.figures(now), stop=stop)


@dataclass(frozen=True)
class _Tried:
    """What came of trying one damping after the other.

    Attributes
    ----------
    vector, error
        The point that lowers the error, None where there is no such, and E there.
    damping, growth, bending
        Those to go on with.
    gain
        The share by which what is minimised fell.
    wider
        Whether float32 has said what it can.
    """

    damping: float
    growth: float
    bending: Bending
    vector: Vector | None = None
    error: float = 0.0
    gain: float = 0.0
    wider: bool = False


def _step(solver: LevenbergMarquardt, problem: LeastSquaresProblem, here: _Point, now: Damping) -> _Tried:
    """Try steps, each damped more than the one before, until one lowers what is minimised."""
    own = here.share * np.diagonal(here.normal.hessian).astype(np.float64) + here.penalties
    largest = float(own.max())
    if largest <= 0:  # nothing depends on anything
        return _Tried(now.damping, now.growth, now.bending)
    slope, vector = here.slope, here.vector
    value = here.value(vector, here.normal.error)
    damping, growth, bending = now.damping or solver.damping * largest, now.growth, now.bending
    least = solver.step_tolerance * max(float(np.abs(vector).max()), 1e-300)
    while damping <= _MOST_DAMPING * largest:
        step = _solved(here, own + damping, now.dtype if problem.wide else "float64")
        promised = 0.0
        if step is not None:
            promised = 0.5 * float(step @ (damping * step - slope))
            there = _There.at(here, value, step, now.dtype)
            if np.abs(step).max() <= least or (there.vector == vector).all():
                break
            if promised > 0:
                ratio, bent = there.gained / promised, None
                # A penalty that is still being chosen has to hold back what noise says before a fit goes after it.
                if now.evidence is None and math.isfinite(there.error) and bending.wanted(ratio):
                    around = _bent(here, value, step, now.dtype)
                    bent = around.gained / promised if around is not None else 0.0
                    if around is not None and around.gained > there.gained:
                        there = around
                bending = bending.after(ratio, bent=bent)
                if there.gained > 0:
                    damping *= max(_LEAST_SHARE, 1.0 - (2.0 * there.gained / promised - 1.0) ** 3)
                    return _Tried(damping, 2.0, bending, there.vector, there.error, there.gained / value)
        said_all = promised <= _PROMISED * value or damping <= _DAMPED * largest
        if now.dtype == "float32" and problem.wide and said_all:
            return _Tried(damping, 2.0, bending, wider=True)
        damping, growth = damping * growth, growth * 2.0
    return _Tried(damping, growth, bending, wider=now.dtype == "float32" and problem.wide)


def _solved(here: _Point, diagonal: Vector, dtype: str) -> Vector | None:
    """Return the step of a damped system, or None where there is none.

    What was added up in float32 is factorised in float32, which takes half of the time: that changes the system by no
    more than adding it up has. Where it then seems singular, float64 decides.
    """
    system = here.problem.system
    for precision in (dtype, "float64"):
        if system.factorise(here.normal.hessian, here.share, diagonal, precision):
            step = system.solve(-here.slope)
            if step is not None:
                return step
        if precision == "float64":
            return None
    raise AssertionError("float64 decides")


@dataclass(frozen=True)
class _There:
    """A point that a step leads to: E there, and by how much what is minimised falls."""

    vector: Vector
    error: float
    gained: float

    @classmethod
    def at(cls, here: _Point, value: float, step: Vector, dtype: str) -> _There:
        vector = here.problem.rounded(here.vector + step)
        error = here.problem.error(vector, dtype)
        gained = value - here.value(vector, error)
        return cls(vector, error, gained if math.isfinite(gained) else -math.inf)


def _bent(here: _Point, value: float, step: Vector, dtype: str) -> _There | None:
    """Return where a step leads that is bent along the valley, by the system that was factorised for it."""
    problem = here.problem
    turned = problem.bend(here.vector, step, dtype)
    second = problem.system.solve(-0.5 * here.share * turned) if np.isfinite(turned).all() else None
    return None if second is None else _There.at(here, value, step + shortened(second, step), dtype)
