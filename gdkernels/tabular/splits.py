"""Which rows are for the test, and which each network is trained and validated on."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.randomness import generator
from gdkernels.tables import folds, split
from gdkernels.tabular import defaults

__all__ = ["draw", "is_cross_validated"]


def draw(
    args: Namespace, records: int, classes: npt.NDArray[Any] | None
) -> tuple[npt.NDArray[Any], npt.NDArray[Any], list[tuple[npt.NDArray[Any], npt.NDArray[Any]]]]:
    """Return the rows that are not for the test, those that are, and of the former for each network to be averaged.

    Each network has validation rows of its own, so that none is kept from all of them.
    """
    numbers = None if classes is None else np.unique(classes.astype(str), return_inverse=True)[1]
    rest, test = split(records, args.test, generator(args.seed, "test"), numbers)
    rest_numbers = numbers[rest] if numbers is not None else None
    if _is_folded(args, len(rest)):
        parts = folds(len(rest), defaults.folds(len(rest)), generator(args.seed, "validation"), rest_numbers)
        return rest, test, [(rest[train], rest[left_out]) for train, left_out in parts]
    share = defaults.VALIDATION if args.validation is None else args.validation
    draws = []
    for k in range(args.average or (1 if _is_single(args, len(rest)) else defaults.folds(len(rest)))):
        train, validation = split(len(rest), share, generator(args.seed, "validation", k), rest_numbers)
        draws.append((rest[train], rest[validation]))
    return rest, test, draws


def _is_single(args: Namespace, records: int) -> bool:
    """Return whether one network is trained: who says how wide it is, or which of several is taken, gets that."""
    return records > defaults.LARGE or args.hidden is not None or args.starts > 1


def _is_folded(args: Namespace, records: int) -> bool:
    """Return whether each network leaves out another part of the rows, as long as nothing else is said."""
    said = args.average is not None or args.validation is not None
    return records >= defaults.FEWEST and not _is_single(args, records) and not said


def is_cross_validated(args: Namespace, records: int) -> bool:
    """Return whether the rows left out choose the penalty before the training that is kept.

    What goes on from checkpoints must not depend on it, and it knows no end of a schedule and no retries.
    """
    changed = args.checkpoint is not None or args.retries or args.patience == 0 or args.schedule != "constant"
    return _is_folded(args, records) and not defaults.FEW < records <= defaults.SMALL and not changed
