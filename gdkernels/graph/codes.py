"""The sum of rows by their codes on any namespace, which the standard has no function for."""

from typing import Any

import numpy as np

__all__ = ["sum_by_code"]

_ELEMENTS = 1 << 22  # of the matrix that says which record has which code, at a time


def sum_by_code(codes: Any, rows: Any, count: int, *, xp: Any) -> Any:
    """Return [count, units]: for each code from 0 on, the sum of the rows [records, units] of the records that have it.

    On NumPy, the rows of a code are added in an order that follows from the codes alone. Elsewhere it is a product with
    0 and 1, which every namespace has, and which gives the same bits each time where products do.
    """
    if isinstance(rows, np.ndarray):
        return _in_order(np.asarray(codes), rows, count)
    device = getattr(rows, "device", None)
    at_once = max(1, _ELEMENTS // max(1, int(rows.shape[0])))
    parts = []
    for first in range(0, count, at_once):
        numbers = xp.arange(first, min(count, first + at_once), dtype=codes.dtype, device=device)
        has = xp.expand_dims(numbers, axis=1) == xp.expand_dims(codes, axis=0)
        parts.append(xp.matmul(xp.astype(has, rows.dtype), rows))
    return parts[0] if len(parts) == 1 else xp.concat(parts, axis=0)


def _in_order(codes: Any, rows: Any, count: int) -> Any:
    total = np.zeros((count, rows.shape[1]), rows.dtype)
    if len(codes):
        order = np.argsort(codes, kind="stable")
        found = codes[order]
        starts = np.flatnonzero(np.concatenate(([True], found[1:] != found[:-1])))
        total[found[starts]] = np.add.reduceat(rows[order], starts, axis=0)
    return total
