"""Where a fit stands besides its parameters: its history, its best, and how far it is within an epoch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from gdkernels.backend import State
from gdkernels.training.history import History

__all__ = ["Middle", "Run"]


@dataclass
class Middle:
    """Within an epoch, between two steps.

    Attributes
    ----------
    state
        What the steps so far have led to.
    order
        The SHA-256 of the order in which the epoch uses its rows.
    steps
        How many of the epoch's steps are done.
    error, norms, seconds
        The sums over them of E and of the gradient's norm, and what they took.
    """

    state: State
    order: str = ""
    steps: int = 0
    error: float = 0.0
    norms: float = 0.0
    seconds: float = 0.0


@dataclass
class Run:
    """One fit.

    Attributes
    ----------
    began
        How many epochs the trainer had done before.
    best_loss, best
        The lowest loss so far, and its parameters where they are kept.
    start
        Where it began, kept if it may go back there.
    retries, failed
        How often training diverged and went on with half the learning rate, and in which epoch last.
    middle
        Where it is within an epoch, None at an epoch's end.
    """

    history: History
    began: int
    best_loss: float = math.inf
    best: Any = None
    start: State | None = None
    retries: int = 0
    failed: int | None = None
    middle: Middle | None = None
