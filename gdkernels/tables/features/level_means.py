"""The mean of a target by level of a column, shrunken towards that of all.

A level of few rows says little. The shrinkage is that of a model of random effects: a level counts as much as its rows
make it differ from chance.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gdkernels.tables.column.column_data import Floats

__all__ = ["are_unordered", "differ", "level_means"]

# Levels of fewer rows say little of their neighbours. It takes so many others, of which so much of the variance comes.
_ROWS, _LEVELS, _EFFECT, _RATIO = 5, 5, 0.1, 0.7

Codes = npt.NDArray[np.int64]


def level_means(codes: Codes, targets: Floats, levels: int) -> Floats:
    """Return the shrunken means [levels + 1, outputs] of `targets` [records, outputs]; the last is that of all.

    Parameters
    ----------
    codes
        The level of each record.
    """
    counts, means, whole = _plain_means(codes, targets, levels)
    seen = counts > 0
    within = _within(codes, targets, means, int(seen.sum()))
    # The moments of a one-way model of random effects, for levels of different sizes.
    spread = (counts[:, None] * (means - whole) ** 2).sum(axis=0) - (seen.sum() - 1) * within
    size = len(codes) - (counts**2).sum() / max(1, len(codes))
    between = np.maximum(spread / size if size > 0 else np.zeros_like(spread), 0.0)
    weight = counts[:, None] * between / np.maximum(counts[:, None] * between + within, 1e-300)
    return np.vstack([whole + weight * (means - whole), whole])


def differ(codes: Codes, targets: Floats, levels: int) -> bool:
    """Return whether any target differs between levels by more than chance: two standard errors of Fisher's F."""
    counts, means, whole = _plain_means(codes, targets, levels)
    seen = int((counts > 0).sum())
    if seen < 2 or len(codes) <= seen:
        return False
    between = (counts[:, None] * (means - whole) ** 2).sum(axis=0) / (seen - 1)
    within = _within(codes, targets, means, seen)
    limit = 1 + 2 * np.sqrt(2 / (seen - 1) + 2 / (len(codes) - seen))
    return bool(np.any(between > limit * within))


def are_unordered(values: Floats, targets: Floats) -> bool:
    """Return whether the means of `targets` differ as much between neighbouring values as between any others.

    So do those of names that are spelled as numbers. It is von Neumann's ratio of the means, less what chance makes of
    them: 1 for names, and near 0 where a number has a course.
    """
    _, codes, counts = np.unique(values, return_inverse=True, return_counts=True)
    kept = counts >= _ROWS
    if kept.sum() < _LEVELS or counts[kept].sum() < len(values) / 2:
        return False
    rows, place = kept[codes], np.cumsum(kept) - 1
    own, y, n = place[codes[rows]], targets[rows], int(kept.sum())
    counted, means, whole = _plain_means(own, y, n)
    within = _within(own, y, means, n)
    effect = (counted[:, None] * (means - whole) ** 2).sum() - (n - 1) * within.sum()
    if not effect > _EFFECT * len(y) * y.var(axis=0).sum():
        return False
    noise = within / counted[:, None]
    between = (means.var(axis=0, ddof=1) - noise.mean(axis=0)).sum()
    steps = (np.diff(means, axis=0) ** 2 - noise[1:] - noise[:-1]).mean(axis=0).sum() / 2
    return bool(between > 0 and steps > _RATIO * between)


def _plain_means(codes: Codes, targets: Floats, levels: int) -> tuple[Floats, Floats, Floats]:
    """Return how many records each level has, their means, and that of all, which a level without any takes."""
    counts = np.bincount(codes, minlength=levels).astype(np.float64)
    whole = targets.mean(axis=0)
    sums = np.column_stack([np.bincount(codes, column, levels) for column in targets.T])
    return counts, np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], whole), whole


def _within(codes: Codes, targets: Floats, means: Floats, seen: int) -> Floats:
    """Return the variance inside levels, of which so many are there."""
    squares: Floats = ((targets - means[codes]) ** 2).sum(axis=0)
    return squares / max(1, len(codes) - seen)
