"""The split of a table's rows: those for the test, and those that each network is trained and validated on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.definition.naming import describe, resolve
from gdkernels.randomness import generator
from gdkernels.tables import folds, split
from gdkernels.tabular import defaults
from gdkernels.tabular.settings import TabularSettings

__all__ = ["RowSplit", "is_cross_validated", "is_folded", "split_rows"]

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class RowSplit:
    """The numbers of the rows that are for the test, and of those that are not.

    Attributes
    ----------
    networks
        Of the latter, for each network to be averaged, the rows to train on and those to validate on.
    """

    learn: Indices
    test: Indices
    networks: list[tuple[Indices, Indices]]

    @property
    def counts(self) -> dict[str, int]:
        """The number of rows for each purpose; training and validation of the first network."""
        train, validation = self.networks[0]
        return {"train": len(train), "validation": len(validation), "test": len(self.test)}


def split_rows(settings: TabularSettings, records: int, classes: npt.NDArray[Any] | None) -> RowSplit:
    """Draw the rows; each network has validation rows of its own, so that none is kept from all of them.

    Parameters
    ----------
    classes
        The label of each record, so that each class is held out in the same share; None for numbers.
    """
    numbers = None if classes is None else np.unique(classes.astype(str), return_inverse=True)[1]
    learn, test = split(records, settings.test, generator(settings.seed, "test"), numbers)
    learn_numbers = numbers[learn] if numbers is not None else None
    if is_folded(settings, len(learn)):
        count = 5 if settings.best else defaults.folds(len(learn))
        parts = folds(len(learn), count, generator(settings.seed, "validation"), learn_numbers)
        return RowSplit(learn, test, [(learn[train], learn[left_out]) for train, left_out in parts])
    share = defaults.VALIDATION if settings.validation is None else settings.validation
    networks = []
    for k in range(settings.average or (1 if _is_single(settings, len(learn)) else defaults.folds(len(learn)))):
        train, validation = split(len(learn), share, generator(settings.seed, "validation", k), learn_numbers)
        networks.append((learn[train], learn[validation]))
    return RowSplit(learn, test, networks)


def _is_single(settings: TabularSettings, records: int) -> bool:
    """Return whether one network is trained: who says how wide it is, or which of several is taken, gets that."""
    return records > defaults.LARGE or settings.hidden is not None or settings.starts > 1


def is_folded(settings: TabularSettings, records: int) -> bool:
    """Return whether each network leaves out another part of the rows: unless the user said otherwise."""
    said = settings.average is not None or settings.validation is not None
    return records >= defaults.FEWEST and not _is_single(settings, records) and not said


def is_cross_validated(settings: TabularSettings, records: int) -> bool:
    """Return whether the rows left out choose the penalty before the training that is kept.

    What goes on from checkpoints must not depend on it, and it knows no end of a schedule and no retries.
    """
    constant = describe(resolve("schedule", settings.schedule)) == describe(resolve("schedule", "constant"))
    changed = settings.checkpoint is not None or settings.retries or settings.patience == 0 or not constant
    return is_folded(settings, records) and not defaults.FEW < records <= defaults.SMALL and not changed
