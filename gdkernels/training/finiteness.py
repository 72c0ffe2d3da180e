"""Whether training is still finite, and what to tell the user where it is not."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gdkernels.data.records import Piece, changed
from gdkernels.dispatch.binding import all_finite
from gdkernels.errors import DivergenceError, InputError
from gdkernels.training.checkpointing import Middle

__all__ = ["check_finite"]


def check_finite(middle: Middle, xp: Any, epoch: int, rate: float, piece: Piece | None = None, batch: int = 1) -> None:
    """Check the loss and the parameters after some steps.

    Parameters
    ----------
    xp
        The namespace of the parameters.
    epoch, rate
        The number of the epoch, from 1, and its last learning rate, for the message.
    piece, batch
        The records that the steps took, and how many of them in a step.

    Raises
    ------
    DivergenceError
        If the steps led to values that are not finite.
    InputError
        If the data did, because something writes into it.
    """
    if math.isfinite(middle.error) and all_finite(*middle.state.parameters.values(), xp=xp):
        return
    before = "the parameters are those before it"
    order = np.empty(0, np.int64) if piece is None else np.asarray(piece.order)
    here = np.flatnonzero(order >= 0)  # others are of other ranks
    if piece is not None and (found := changed(piece.records, order[here])) is not None:
        place, what = int(here[found[0]]), found[1]
        raise InputError(
            f"{what}, used in step {piece.first + place // batch + 1} of epoch {epoch}: it was finite when "
            f"training began, so something writes into the data meanwhile; {before}"
        )
    raise DivergenceError(
        f"{'the loss' if not math.isfinite(middle.error) else 'a parameter'} stopped being finite in epoch "
        f"{epoch}; {before}. Lower the learning rate ({rate:g}), set clip_norm, or scale the data"
    )
