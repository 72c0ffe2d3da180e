"""Rows set aside by groups: those of one group are never parted."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gdkernels.errors import InputError

__all__ = ["folds_of_groups", "split_groups"]

Indices = npt.NDArray[np.int64]

_ANOTHER = "name a column of more groups, or set rows aside at random"


def split_groups(groups: Indices, share: float, generator: np.random.Generator, what: str) -> tuple[Indices, Indices]:
    """Draw groups until about that share of the rows is held out; return the rows kept and held, ascending.

    Parameters
    ----------
    groups
        The group of each row, as a number.
    what
        The purpose of the rows that are held out, for the error.

    Raises
    ------
    InputError
        If there are fewer than two groups.
    """
    everything = np.arange(len(groups))
    if share == 0:
        return everything, everything[:0]
    found, places, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(found) < 2:
        raise InputError(f"these records all belong to one group, so none can be set aside for {what}: {_ANOTHER}")
    order = generator.permutation(len(found))
    held = np.cumsum(sizes[order])[:-1]
    count = 1 + int(np.argmin(np.abs(held - share * len(groups))))
    out = np.isin(places.reshape(-1), order[:count])
    return np.flatnonzero(~out), np.flatnonzero(out)


def folds_of_groups(groups: Indices, count: int, generator: np.random.Generator) -> list[tuple[Indices, Indices]]:
    """Cut rows into `count` parts of about one size, fewer if there are fewer groups; see `gdkernels.tables.folds`.

    Raises
    ------
    InputError
        If there are fewer than two groups.
    """
    found, places, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(found) < 2:
        raise InputError(
            f"all records outside the test belong to one group, so none is left to validate on: {_ANOTHER}"
        )
    # The largest first, each into the part that has the fewest rows; groups of one size in an order of chance.
    order = generator.permutation(len(found))
    order = order[np.argsort(-sizes[order], kind="stable")]
    rows = np.zeros(min(count, len(found)), np.int64)
    part = np.empty(len(found), np.int64)
    for group in order.tolist():
        part[group] = np.argmin(rows)
        rows[part[group]] += sizes[group]
    of_row = part[places.reshape(-1)]
    return [(np.flatnonzero(of_row != k), np.flatnonzero(of_row == k)) for k in range(len(rows))]
