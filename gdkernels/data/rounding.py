"""The loss when float64 data are rounded to float32: distances between large numbers."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.data.frames import Frame
from gdkernels.dispatch.binding import Binding
from gdkernels.errors import keyword

__all__ = ["SAMPLE", "warn_of_rounding"]

_log = logging.getLogger("gdkernels")

SAMPLE = 512  # records that are looked at: enough to see that most of them have become the same
_KEPT = 0.75  # the share of different values that must stay different


def warn_of_rounding(binding: Binding, given: Any, name: str) -> None:
    """Warn of columns most of whose values float32 cannot tell apart, and say what to do.

    Nothing is changed: whether 1,700,000,000 and 1,700,000,001 are to be different is for the user to know.
    """
    if binding.dtype != "float32":
        return
    frame = Frame.of(given, name)
    columns = None if frame is None else frame.names
    values = _sampled(given) if frame is None else frame.sample(SAMPLE)
    if values is None:
        return
    values = np.sort(values, axis=0)
    with np.errstate(all="ignore"):
        before, after = _different(values), _different(values.astype(np.float32))
    for column in np.flatnonzero(after < _KEPT * before)[:1].tolist():
        called = f"column {column}" if columns is None else f"column {columns[column]!r}"
        _log.warning(
            "%s, %s: float32 cannot tell its values apart: %s different ones of %s records become %s; subtract their "
            "mean or standardise them in float64 first, or choose %s",
            name,
            called,
            before[column],
            f"{len(values):,}",
            after[column],
            keyword("precision", "float64"),
        )


def _sampled(given: Any) -> npt.NDArray[np.float64] | None:
    """Return some of the records as float64 [records, columns]; None where they are no wider than float32."""
    if not hasattr(given, "__array__") and not isinstance(given, (list, tuple)):
        return None
    try:
        array = np.asarray(given)
    except (TypeError, RuntimeError):  # on another device, from which nothing is fetched for this
        return None
    if array.dtype.kind not in "iuf" or array.dtype.itemsize < 8 or array.ndim not in (1, 2) or len(array) < 2:
        return None
    some = array[:: max(1, len(array) // SAMPLE)][:SAMPLE]
    return some.reshape(len(some), -1).astype(np.float64)


def _different(values: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return how many different values each column of sorted ones has."""
    steps: npt.NDArray[np.int64] = np.count_nonzero(np.diff(values, axis=0) > 0, axis=0)
    return 1 + steps
