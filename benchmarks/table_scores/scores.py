"""Scores, their file, and what they say: differences between participants split by split, and ranks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.metrics import log_loss, r2

__all__ = ["Score", "difference", "mean_ranks", "scored"]


@dataclass(frozen=True)
class Score:
    """How well one participant predicted the test's rows of one split.

    Attributes
    ----------
    figure
        "R²", or "log loss" for classes.
    accuracy
        Of classes.
    seconds
        The CPU time of learning.
    """

    table: str
    seed: int
    participant: str
    figure: str
    value: float
    accuracy: float | None
    seconds: float
    apart: bool = False

    @property
    def key(self) -> tuple[str, int, str]:
        """What is measured once."""
        return self.table, self.seed, self.participant

    @property
    def gain(self) -> float:
        """The value, turned so that more is better."""
        return self.value if self.figure == "R²" else -self.value


def scored(values: npt.NDArray[Any], classes: Sequence[str] | None, truth: npt.NDArray[Any]) -> dict[str, Any]:
    """Return the figure, its value and the accuracy of some predictions.

    Parameters
    ----------
    classes
        The labels of the columns of `values`, which are probabilities then. Others have the probability 0.
    """
    if classes is None:
        return {"figure": "R²", "value": float(r2(truth, values)), "accuracy": None}
    known = sorted({*classes, *truth.tolist()})
    probabilities = np.full((len(truth), len(known)), 1e-15)
    for k, label in enumerate(classes):
        probabilities[:, known.index(label)] = values[:, k]
    # Beyond 1e-6, a sure error would outweigh a thousand rows.
    probabilities = np.clip(probabilities / probabilities.sum(axis=1, keepdims=True), 1e-6, 1)
    right = np.array([known.index(label) for label in truth.tolist()])
    return {
        "figure": "log loss",
        "value": float(log_loss(np.eye(len(known))[right], probabilities)),
        "accuracy": float(np.mean(probabilities.argmax(axis=1) == right)),
    }


def difference(scores: Iterable[Score], ours: str, other: str) -> tuple[float, float, int]:
    """Return the mean by which `ours` is better than `other`, split by split, its standard error, and the splits."""
    found = {score.key: score.gain for score in scores}
    pairs = [
        gain - found[table, seed, other]
        for (table, seed, who), gain in found.items()
        if who == ours and (table, seed, other) in found
    ]
    if not pairs:
        return math.nan, math.nan, 0
    error = float(np.std(pairs, ddof=1) / math.sqrt(len(pairs))) if len(pairs) > 1 else math.nan
    return float(np.mean(pairs)), error, len(pairs)


def mean_ranks(scores: Iterable[Score], participants: Sequence[str]) -> dict[str, float]:
    """Return of each participant its mean rank over the tables on which all of them were measured; 1 is the best."""
    tables: dict[str, dict[str, list[float]]] = {}
    for score in scores:
        tables.setdefault(score.table, {}).setdefault(score.participant, []).append(score.gain)
    ranks = []
    for found in tables.values():
        if all(name in found for name in participants):
            means = np.array([np.mean(found[name]) for name in participants])
            ranks.append([1 + np.sum(means > mean) + (np.sum(means == mean) - 1) / 2 for mean in means])
    return dict(zip(participants, np.mean(ranks, axis=0).tolist(), strict=True)) if ranks else {}
