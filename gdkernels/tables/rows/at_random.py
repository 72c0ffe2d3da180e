"""Rows set aside at random: a share of them, or folds; of classes, the same share of each."""

from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.errors import InputError, shown
from gdkernels.system.ranges import SHARE, whole

__all__ = ["folds", "split"]

Indices = npt.NDArray[np.int64]


def split(
    n: int, share: float, generator: np.random.Generator, labels: npt.NDArray[Any] | None = None
) -> tuple[Indices, Indices]:
    """Draw which of `n` rows are kept and which are held out; both in ascending order.

    Parameters
    ----------
    share
        The share of the rows to hold out: none for 0, otherwise at least one.
    labels
        Classes [n]: each is held out in the same share, as far as whole rows go, and none entirely.

    Raises
    ------
    InputError
        If no row would be left.
    """
    for name, value, allowed in (("n", n, whole(0)), ("share", share, SHARE)):
        if not allowed.has(value):
            raise InputError(f"{name} must be {allowed.wanted}, got {shown(value)}")
    _check_generator(generator)
    labels = _checked_labels(labels, n)
    if share == 0:
        return np.arange(n), np.arange(0)
    held = max(1, round(share * n))
    groups = [np.arange(n)] if labels is None else [np.flatnonzero(labels == label) for label in np.unique(labels)]
    sizes = np.array([len(group) for group in groups])
    if held > n - len(groups):
        kept = "each class" if labels is not None else "training"
        what = "1 record is" if n == 1 else f"{n:,} records are"
        raise InputError(f"{what} too few to hold out {share:g} of them and keep one for {kept}; add some")
    out = np.concatenate([generator.permutation(g)[:k] for g, k in zip(groups, _shares(sizes, held), strict=True)])
    mask = np.zeros(n, bool)
    mask[out] = True
    return np.flatnonzero(~mask), np.flatnonzero(mask)


def folds(
    n: int, count: int, generator: np.random.Generator, labels: npt.NDArray[Any] | None = None
) -> list[tuple[Indices, Indices]]:
    """Cut `n` rows into `count` parts, and return for each the other rows and its own, in ascending order.

    Parts differ by one row at most. Where there are `labels`, classes [n], so do the parts of each class.

    Raises
    ------
    InputError
        If there are fewer rows than parts.
    """
    for name, value, allowed in (("n", n, whole(0)), ("count", count, whole(1))):
        if not allowed.has(value):
            raise InputError(f"{name} must be {allowed.wanted}, got {shown(value)}")
    _check_generator(generator)
    labels = _checked_labels(labels, n)
    if n < count:
        raise InputError(f"{n:,} records are too few for {count} parts; add some")
    rows = generator.permutation(n)
    if labels is not None:
        rows = rows[np.argsort(labels[rows], kind="stable")]
    part = np.empty(n, np.int64)
    part[rows] = np.arange(n) % count
    return [(np.flatnonzero(part != k), np.flatnonzero(part == k)) for k in range(count)]


def _check_generator(generator: object) -> None:
    if not isinstance(generator, np.random.Generator):
        raise InputError(f"generator must be a numpy.random.Generator, got {shown(generator)}")


def _checked_labels(labels: Any, n: int) -> npt.NDArray[Any] | None:
    """Return classes [n], with `InputError` for what is none."""
    if labels is None:
        return None
    try:
        found = np.asarray(labels)
        if found.dtype.kind == "O":
            np.unique(found)
    except (TypeError, ValueError):  # lists of several lengths, or what cannot be sorted
        found = np.empty(())
    if found.shape != (n,) or found.dtype.kind not in "biufOUS":
        raise InputError(f"labels must be classes as numbers or text, one for each of {n:,} rows, got {shown(labels)}")
    return found


def _shares(sizes: Indices, total: int) -> Indices:
    """Return whole numbers close to `sizes` in proportion that add up to `total`, each smaller than its size."""
    wanted = sizes * (total / sizes.sum())
    shares: Indices = np.minimum(np.floor(wanted).astype(np.int64), sizes - 1)
    # The largest remainders are rounded up; where a class is full, the next takes its place.
    while (missing := total - int(shares.sum())) > 0:
        open_ = np.flatnonzero(shares < sizes - 1)
        first = open_[np.argsort(-(wanted - shares)[open_], kind="stable")][:missing]
        shares[first] += 1
    return shares
