"""Solvers: methods that choose each step from all the records, and need no learning rate.

An optimizer is a rule for each number by itself. A solver is a value that says how to solve for all of them together;
`gdkernels.training.solvers` does it.
"""

from abc import ABC
from dataclasses import dataclass

from gdkernels.definition.checks import check_number
from gdkernels.errors import InputError, shown

__all__ = ["LBFGS", "LevenbergMarquardt", "Solver"]


class Solver(ABC):
    """A method of training that looks at all records in each of its iterations, which count as epochs.

    Attributes
    ----------
    gradient_tolerance
        Training ends when no entry of the gradient of the mean loss is larger than this.
    """

    gradient_tolerance: float


@dataclass(frozen=True)
class LevenbergMarquardt(Solver):
    """Least squares by Levenberg (1944) and Marquardt (1963), for networks of up to some 1,500 parameters.

    Each iteration solves (JᵀJ + λ I) Δw = −g for the step, with J the Jacobian of the outputs and g the gradient. It
    takes the step if the error falls, and tries a larger damping λ if not; where the error falls as much as expected, λ
    becomes smaller (after Nielsen 1999). A step that gains much less is bent along the valley that it leaves
    (Transtrum & Sethna 2012), unless you ask for `bayes`. For losses other than squared errors, it takes the second
    derivative at the outputs (Gauss–Newton).

    Parameters
    ----------
    bayes
        Whether to choose the penalty on weights by the evidence (MacKay 1992), without validation records; the history
        then tells the effective number of parameters. It penalises biases too, as Foresee & Hagan (1997) do. When the
        evidence rises no more, the fit ends where it was greatest.
    damping
        The first λ, as a share of the largest entry on the diagonal of JᵀJ.
    gradient_tolerance, step_tolerance, error_goal
        Training ends when no entry of the gradient of the mean loss is larger than `gradient_tolerance`, when no
        parameter moves by more than the share `step_tolerance` of the largest one, or when the mean loss has come down
        to `error_goal`.
    """

    bayes: bool = False
    damping: float = 1e-3
    gradient_tolerance: float = 1e-12
    step_tolerance: float = 1e-14
    error_goal: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.bayes, bool):
            raise InputError(f"LevenbergMarquardt: bayes must be True or False, got {shown(self.bayes)}")
        check_number(self, "damping", lambda v: v > 0, "a finite number above 0")
        for field in ("gradient_tolerance", "step_tolerance", "error_goal"):
            check_number(self, field, lambda v: v >= 0, "a finite number of at least 0")


@dataclass(frozen=True)
class LBFGS(Solver):
    """The quasi-Newton method L-BFGS (Nocedal 1980): full batches, and a search along each direction.

    Parameters
    ----------
    memory
        The number of last steps that it keeps, with the change of the gradient along each.
    gradient_tolerance
        Training ends when no entry of the gradient of the mean loss is larger than this.
    """

    memory: int = 10
    gradient_tolerance: float = 1e-12

    def __post_init__(self) -> None:
        check_number(self, "memory", lambda v: v >= 1, "a whole number of at least 1", whole=True)
        check_number(self, "gradient_tolerance", lambda v: v >= 0, "a finite number of at least 0")


BY_NAME: dict[str, type[Solver]] = {"lm": LevenbergMarquardt, "lbfgs": LBFGS}
