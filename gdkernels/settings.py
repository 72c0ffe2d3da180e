"""How a network is trained: names resolved, numbers checked, before any work is done."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gdkernels.definition.losses import BinaryCrossEntropy, CrossEntropy, Loss
from gdkernels.definition.naming import resolve
from gdkernels.definition.optimizers import Optimizer
from gdkernels.definition.schedules import ScheduleFunction
from gdkernels.errors import InputError, unknown_name

__all__ = ["Settings", "checked_reduction"]


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
        if isinstance(batch_size, bool) or not isinstance(batch_size, (int, np.integer)) or batch_size < 1:
            raise InputError(f"batch_size must be a whole number of at least 1, got {batch_size!r}")
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
            batch_size=int(batch_size),
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
