"""The settings of training: names are resolved and numbers checked before any work is done."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gdkernels.definition.naming import describe, resolve
from gdkernels.definition.objective import Objective
from gdkernels.definition.optimizers import Optimizer
from gdkernels.definition.schedules import ScheduleFunction
from gdkernels.definition.solvers import LevenbergMarquardt, Solver
from gdkernels.errors import InputError, shown
from gdkernels.metrics import Metric, resolve_metrics
from gdkernels.training.history import History, Stop, StopReason

__all__ = ["FitSettings", "Settings"]

_OF_OPTIMIZERS = ("optimizer", "schedule", "batch_size", "clip_norm")


@dataclass(frozen=True)
class Settings:
    """The settings of a `gdkernels.Trainer`, whose docstring explains them."""

    objective: Objective
    optimizer: Optimizer
    batch_size: int
    schedule: ScheduleFunction
    solver: Solver | None = None

    @classmethod
    def checked(
        cls,
        *,
        outputs: int,
        optimizer: str | Optimizer = "adam",
        batch_size: int = 64,
        schedule: str | ScheduleFunction = "constant",
        solver: str | Solver | None = None,
        **objective: Any,
    ) -> Settings:
        """Return settings for a network of so many `outputs`, names resolved; the rest is for `Objective.checked`.

        Raises
        ------
        InputError
            For unknown names and numbers out of range.
        """
        found = cls(
            objective=Objective.checked(**objective, outputs=outputs),
            optimizer=resolve("optimizer", optimizer),
            batch_size=_whole("batch_size", batch_size, 1),
            schedule=resolve("schedule", schedule),
        )
        return found if solver is None else found._solved_by(resolve("solver", solver))

    def _solved_by(self, solver: Solver) -> Settings:
        """Return the settings with a solver, which has no use for those of an optimizer."""
        usual = Settings.checked(outputs=1)
        for name in ("optimizer", "batch_size", "schedule"):
            if getattr(self, name) != getattr(usual, name):
                raise InputError(
                    f"{name} goes with an optimizer, and {type(solver).__name__} is a solver, which chooses its steps "
                    "from all the records: leave it out"
                )
        if self.objective.clip_norm is not None:
            raise InputError(f"clip_norm goes with an optimizer, and {type(solver).__name__} is a solver: leave it out")
        if isinstance(solver, LevenbergMarquardt) and solver.bayes and self.objective.l2:
            raise InputError("LevenbergMarquardt(bayes=True) chooses the penalty by itself: leave l2 at 0")
        return replace(self, solver=solver)

    def as_dict(self) -> dict[str, Any]:
        """Return all settings as JSON can hold them; a checkpoint and a fit that resumes must agree on them."""
        functions = {"optimizer": self.optimizer, "loss": self.objective.loss, "schedule": self.schedule}
        numbers = {"batch_size": self.batch_size} | self.objective.as_dict()
        told = {name: describe(f) for name, f in functions.items()} | {n: v for n, v in numbers.items() if n != "loss"}
        if self.solver is None:
            return told
        own = {name: value for name, value in told.items() if name not in _OF_OPTIMIZERS}
        return {"solver": describe(self.solver), **own}


@dataclass(frozen=True)
class FitSettings:
    """The settings of one `gdkernels.Trainer.fit`, whose docstring explains them."""

    epochs: int
    patience: int | None
    metrics: dict[str, Metric]
    stop_gradient_norm: float | None
    gradient_norm: bool
    retries: int

    @classmethod
    def checked(
        cls,
        *,
        epochs: int,
        patience: int | None,
        metrics: Iterable[str | Metric],
        stop_gradient_norm: float | None,
        gradient_norm: bool,
        retries: int,
    ) -> FitSettings:
        """Return settings with metrics resolved.

        Raises
        ------
        InputError
            For unknown names and numbers out of range.
        """
        epochs, retries = _whole("epochs", epochs, 1), _whole("retries", retries, 0)
        if patience is not None and not (_is_number(patience) and patience >= 1):
            raise InputError(f"patience must be a number of epochs of at least 1 or None, got {shown(patience)}")
        if stop_gradient_norm is not None and not (_is_number(stop_gradient_norm) and stop_gradient_norm >= 0):
            raise InputError(f"stop_gradient_norm must be at least 0 or None, got {shown(stop_gradient_norm)}")
        if not isinstance(gradient_norm, (bool, int, np.bool_)):
            raise InputError(f"gradient_norm must be True or False, got {shown(gradient_norm)}")
        return cls(epochs, patience, resolve_metrics(metrics), stop_gradient_norm, gradient_norm, retries)

    @property
    def with_norm(self) -> bool:
        """Whether the norm of the gradient is measured."""
        return self.gradient_norm or self.stop_gradient_norm is not None

    def identity(self) -> dict[str, Any]:
        """Return the settings of a fit that a fit that resumes from its checkpoint must share."""
        return vars(self) | {"metrics": list(self.metrics)}

    def ending(self, history: History) -> Stop | None:
        """Return why training ends after the last recorded epoch, or None if it continues."""
        last = history.epochs[-1]
        norm, threshold = last.gradient_norm, self.stop_gradient_norm
        if threshold is not None and norm is not None and norm <= threshold:
            return Stop(StopReason.CRITICAL_POINT, f"the gradient's norm fell to {norm:.3g}: a critical point")
        if self.patience is not None and last.number - (history.best_epoch or 0) >= self.patience:
            watched = "loss" if last.validation_loss is None else "validation loss"
            return Stop(StopReason.PATIENCE, f"the {watched} has not fallen for {self.patience} epochs")
        if len(history.epochs) >= self.epochs:
            return Stop(StopReason.ALL_EPOCHS, f"all {self.epochs} epochs are done")
        return None


_NUMBERS = (int, float, np.integer, np.floating)


def _is_number(value: object) -> bool:
    return isinstance(value, _NUMBERS) and not isinstance(value, bool)


def _whole(name: str, value: int, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise InputError(f"{name} must be a whole number of at least {least}, got {shown(value)}")
    return int(value)
