"""The orders of epochs as compiled code has them: numbers, or what its threads draw them by."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from gdkernels.randomness import SeededOrders
from gdkernels_numba.cpu.addresses import address_of
from gdkernels_numba.vm.fields import WORD
from gdkernels_numba.vm.job_fields import POOL, DrawingRecord

__all__ = ["RunOrders"]

_log = logging.getLogger("gdkernels")

_ROOM = POOL + 4  # words for a pool and a generator
_RECORD = len(DrawingRecord._fields)
_MOST = 1 << 32  # records, and epochs: more have numbers of their own to be seeded by, or to be drawn by
_MOST_KEPT = 1 << 17  # numbers that are kept for the next who asks: 1 MB

# Some that are compared with NumPy's: a seed of several words, an epoch and sizes at which many draws are repeated.
_COMPARED = (SeededOrders(0, range(2), 33), SeededOrders(12345678901234567890123, range(7, 8), 1030))

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class RunOrders:
    """The rows that a run uses, epoch after epoch.

    Attributes
    ----------
    numbers
        The numbers of the rows: [epochs, records].
    drawing
        What they are yet to be drawn by: a `DrawingRecord`, and what it leads to. None if they are there.
    """

    numbers: Numbers
    drawing: Numbers | None = None

    @classmethod
    def of(cls, orders: Numbers | SeededOrders, draw: Callable[[int], None]) -> "RunOrders":
        """Return the orders that a caller passes, drawn if another run has asked for the same before.

        Parameters
        ----------
        draw
            The compiled `draw_orders`.
        """
        if not isinstance(orders, SeededOrders):
            return cls(orders)
        if orders.records >= _MOST or orders.epochs.stop > _MOST or not _draws_as_numpy(draw):
            return cls(np.asarray(orders))
        asked = _asked(orders)
        if asked.numbers is not None:
            return cls(asked.numbers)
        found = _to_draw(orders)
        if asked.before and orders.records * len(orders) <= _MOST_KEPT:  # the models of a search often have one seed
            asked.numbers = found.drawn(draw)
            return cls(asked.numbers)
        asked.before = True
        return found

    def drawn(self, draw: Callable[[int], None]) -> Numbers:
        """Return the numbers of the rows."""
        if self.drawing is not None:
            draw(self.drawing.ctypes.data)
        return self.numbers


class _Asked:
    """Whether somebody has asked for some orders before, and their numbers if they are kept."""

    before = False
    numbers: Numbers | None = None


@lru_cache(maxsize=8)
def _asked(_: SeededOrders) -> _Asked:
    return _Asked()


def _to_draw(orders: SeededOrders) -> RunOrders:
    numbers, seed = np.empty(orders.shape, np.int64), orders.entropy
    count = len(seed) + 1
    words = np.zeros(_RECORD + max(POOL, count) + _ROOM, np.int64)
    entropy = address_of(words) + WORD * _RECORD
    record = DrawingRecord(
        orders=address_of(numbers),
        records=orders.records,
        epochs=len(orders),
        epoch=orders.epochs.start,
        entropy=entropy,
        entropy_count=count,
        epoch_at=len(seed),
        room=entropy + WORD * max(POOL, count),
    )
    words[: _RECORD + len(seed)] = (*record, *seed)
    return RunOrders(numbers, words)


_same: dict[int, bool] = {}  # by the function, which stays as long as the process


def _draws_as_numpy(draw: Callable[[int], None]) -> bool:
    """Return whether compiled code draws what the NumPy that is installed draws, whose stream may change one day."""
    if id(draw) not in _same:
        same = all(np.array_equal(_to_draw(orders).drawn(draw), np.asarray(orders)) for orders in _COMPARED)
        if not same:
            _log.info("NumPy %s draws the orders of records, because the engine would draw others", np.__version__)
        _same[id(draw)] = same
    return _same[id(draw)]
