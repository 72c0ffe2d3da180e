"""The order of the records in each epoch, drawn as scikit-learn draws it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Orders"]

Rows = npt.NDArray[Any]


class Orders:
    """Draws the order of each epoch, and keeps it until the epoch has ended.

    Several epochs may be drawn before they run, and one that is broken off is run again, in the same order.

    Parameters
    ----------
    random
        What is drawn from; None leaves the records in their order.
    begin
        Called with the order of an epoch that is to run.
    """

    def __init__(self, records: int, random: np.random.RandomState | None, begin: Callable[[Rows], None]) -> None:
        self._rows, self._random, self._begin = np.arange(records), random, begin
        self._drawn: dict[int, Rows] = {}
        # Where several are drawn at once: the state after the first of them, and how many have ended. A state takes
        # longer than an order.
        self._state: Any = None
        self._ended = 0

    def __call__(self, epoch: int, records: int) -> Rows:
        if self._random is not None and epoch not in self._drawn:
            if len(self._drawn) == 1:
                self._state, self._ended = self._random.get_state(legacy=False), 0
            self._rows = self._rows[self._shuffled(self._random, records)]
            self._drawn[epoch] = self._rows
        rows = self._drawn.get(epoch, self._rows)
        self._begin(rows)
        return rows

    @staticmethod
    def _shuffled(random: np.random.RandomState, records: int) -> Rows:
        """Return what sklearn.utils.shuffle does, which looks at its arguments for longer than an epoch."""
        drawn = np.arange(records)
        random.shuffle(drawn)
        return drawn

    def ended(self) -> None:
        """Forget the order of the epoch that has just ended, the first of those drawn."""
        self._drawn.pop(next(iter(self._drawn), -1), None)
        self._ended += 1

    def broken_off(self) -> None:
        """Give back what was drawn for epochs after the next one, which was the last."""
        if self._random is not None and len(self._drawn) > 1:
            self._random.set_state(self._state)
            for _ in range(self._ended):
                self._shuffled(self._random, len(self._rows))
