"""What a progress bar of several fits shows."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np

from gdkernels.training.history import History

__all__ = ["shown_by"]


def shown_by(bar: Any) -> Callable[[History], None]:
    """Return a function that shows on a bar that another model is done, and the lowest loss so far.

    Parameters
    ----------
    bar
        That of `gdkernels.system.progress.progress_bar`; None shows nothing.
    """
    lowest = np.inf

    def done(history: History) -> None:
        nonlocal lowest
        if bar is None:
            return
        reached = [epoch.watched for epoch in history.epochs if epoch.number == history.best_epoch]
        lowest = min([lowest, *reached])
        with suppress(OSError):  # the terminal has gone: the work goes on
            bar.set_postfix_str(f"lowest loss {lowest:.4g}", refresh=False)
            bar.update()

    return done
