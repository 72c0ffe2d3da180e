"""The state of a fit besides its parameters: its history, its best epoch, and its position within an epoch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from gdkernels.backend import State
from gdkernels.dispatch.binding import Binding, moved
from gdkernels.randomness import ORDER_STREAM
from gdkernels.training.history import History

__all__ = ["Middle", "Run"]


@dataclass
class Middle:
    """A position within an epoch, between two steps.

    Attributes
    ----------
    state
        The state after the steps so far.
    order
        The SHA-256 of the order in which the epoch uses its rows.
    steps
        The number of steps done in this epoch.
    error, norms, seconds
        The sums of E and of the gradient's norm over these steps, and their time.
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
        The number of epochs that the trainer had done before.
    best_loss, best
        The lowest loss so far, and its parameters if they are kept.
    start
        The state at the beginning, kept if the fit may go back there.
    retries, failed
        The number of retries at half the learning rate, and the epoch of the last divergence.
    middle
        The position within an epoch; None at the end of one.
    order_stream
        The stream that shuffles the records, of `gdkernels.randomness.epoch_order`.
    """

    history: History
    began: int
    best_loss: float = math.inf
    best: Any = None
    start: State | None = None
    retries: int = 0
    failed: int | None = None
    middle: Middle | None = None
    order_stream: int = ORDER_STREAM

    def move(self, old: Binding, new: Binding) -> None:
        """Move all arrays that it keeps from one place to another."""
        if self.best is not None:
            self.best = {n: new.place(old.to_numpy(a), "parameters") for n, a in self.best.items()}
        if self.start is not None:
            self.start = moved(self.start, old, new)
        if self.middle is not None:
            self.middle.state = moved(self.middle.state, old, new)
