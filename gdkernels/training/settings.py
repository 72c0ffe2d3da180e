"""How a network is trained: names resolved, numbers checked, before any work is done."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gdkernels.definition.losses import BinaryCrossEntropy, CrossEntropy, Loss
from gdkernels.definition.naming import resolve
from gdkernels.definition.optimizers import Optimizer
from gdkernels.definition.schedules import ScheduleFunction
from gdkernels.errors import InputError, unknown_name
from gdkernels.metrics import Metric, resolve_metrics
from gdkernels.training.history import History

__all__ = ["FitSettings", "Settings", "checked_reduction"]


@dataclass(frozen=True)
class Settings:
    """The settings of a `gdkernels.Trainer`, which says what each means."""

    optimizer: Optimizer
    loss: Loss
    batch_size: int
    schedule: ScheduleFunction
    l2: float
    l2_in_loss: bool
    clip_norm: float | None
    reduction: str

    @classmethod
    def checked(
        cls,
        *,
        optimizer: str | Optimizer = "adam",
        loss: str | Loss = "sse",
        batch_size: int = 64,
        schedule: str | ScheduleFunction = "constant",
        l2: float = 0.0,
        l2_in_loss: bool = False,
        clip_norm: float | None = None,
        reduction: str = "mean",
        outputs: int,
    ) -> Settings:
        """Return settings for a network of so many `outputs`, names resolved.

        Raises
        ------
        InputError
            For unknown names and numbers out of range.
        """
        batch_size = _whole("batch_size", batch_size, 1)
        if not (isinstance(l2, (int, float)) and 0 <= l2 < math.inf):
            raise InputError(f"l2 must be a finite number of at least 0, got {l2!r}")
        if clip_norm is not None and not (isinstance(clip_norm, (int, float)) and 0 < clip_norm < math.inf):
            raise InputError(f"clip_norm must be a positive finite number or None, got {clip_norm!r}")
        chosen = resolve("loss", loss)
        if isinstance(chosen, CrossEntropy) and outputs == 1:
            chosen = BinaryCrossEntropy()  # the same thing for one output, which softmax would make constant
        return cls(
            optimizer=resolve("optimizer", optimizer),
            loss=chosen,
            batch_size=batch_size,
            schedule=resolve("schedule", schedule),
            l2=float(l2),
            l2_in_loss=bool(l2_in_loss),
            clip_norm=None if clip_norm is None else float(clip_norm),
            reduction=checked_reduction(reduction),
        )


def checked_reduction(reduction: str) -> str:
    """Return `reduction`; raise `InputError` unless it is "mean" or "sum"."""
    if reduction not in ("mean", "sum"):
        raise unknown_name("reduction", reduction, ("mean", "sum"))
    return reduction


@dataclass(frozen=True)
class FitSettings:
    """The settings of one `gdkernels.Trainer.fit`, which says what each means."""

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
        if patience is not None and patience < 1:
            raise InputError(f"patience must be a number of epochs of at least 1 or None, got {patience!r}")
        if stop_gradient_norm is not None and not stop_gradient_norm >= 0:
            raise InputError(f"stop_gradient_norm must be at least 0 or None, got {stop_gradient_norm!r}")
        return cls(epochs, patience, resolve_metrics(metrics), stop_gradient_norm, gradient_norm, retries)

    @property
    def with_norm(self) -> bool:
        """Whether the norm of the gradient is measured."""
        return self.gradient_norm or self.stop_gradient_norm is not None

    def identity(self) -> dict[str, Any]:
        """Return what a fit that goes on from a checkpoint must have been asked for too."""
        return vars(self) | {"metrics": list(self.metrics)}

    def ending(self, history: History) -> str:
        """Return why training ends after the last recorded epoch, or nothing if it goes on."""
        last = history.epochs[-1]
        norm, threshold = last.gradient_norm, self.stop_gradient_norm
        if threshold is not None and norm is not None and norm <= threshold:
            return f"the gradient's norm fell to {norm:.3g}: a critical point"
        if self.patience is not None and last.number - (history.best_epoch or 0) >= self.patience:
            watched = "loss" if last.validation_loss is None else "validation loss"
            return f"the {watched} has not fallen for {self.patience} epochs"
        return f"all {self.epochs} epochs are done" if len(history.epochs) >= self.epochs else ""


def _whole(name: str, value: int, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise InputError(f"{name} must be a whole number of at least {least}, got {value!r}")
    return int(value)
