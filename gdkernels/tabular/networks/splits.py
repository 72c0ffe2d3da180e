"""The split of a table's rows: those for the test, and those that each network is trained and validated on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.definition.naming import describe, resolve
from gdkernels.errors import InputError, keyword
from gdkernels.randomness import generator
from gdkernels.system import memory
from gdkernels.tables import Table, folds, split
from gdkernels.tables.rows.grouped import folds_of_groups, split_groups
from gdkernels.tabular.settings import defaults
from gdkernels.tabular.settings.split_rules import latest_from, moment_text
from gdkernels.tabular.settings.tabular_settings import TabularSettings, chooses_penalty

__all__ = ["RowSplit", "is_cross_validated", "is_folded", "split_rows", "stops_together", "unasked"]

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class RowSplit:
    """The numbers of the rows that are for the test, and of those that are not.

    Attributes
    ----------
    networks
        Of the latter, for each network to be averaged, the rows to train on and those to validate on.
    said
        The rows of the test, for people.
    """

    learn: Indices
    test: Indices
    networks: list[tuple[Indices, Indices]]
    said: str = "rows kept from training and stopping"

    @property
    def together(self) -> tuple[Indices, Indices]:
        """The rows for networks that stop together, and those that say when: the last two of the parts left out."""
        left_out = np.sort(np.concatenate([part for _, part in self.networks[-2:]]))
        return np.setdiff1d(self.learn, left_out), left_out

    @property
    def counts(self) -> dict[str, int]:
        """The number of rows for each purpose; training and validation of the first network."""
        train, validation = self.networks[0]
        return {"train": len(train), "validation": len(validation), "test": len(self.test)}


def split_rows(settings: TabularSettings, table: Table, classes: npt.NDArray[Any] | None) -> RowSplit:
    """Set rows aside as the settings say.

    Each network has validation rows of its own, so that none is kept from all of them: at random, some groups, or a
    stretch of time. Where you say how many networks there are or how many rows to validate on, those of a split by time
    are the last ones before the test.

    Parameters
    ----------
    classes
        The label of each record, so that each class is held out in the same share; None for numbers.

    Raises
    ------
    InputError
        If there are too few records, or groups, or the column of the split is not there or does not fit.
    """
    rule = settings.split.resolved(table)
    if rule.kind == "time":
        return _in_time(settings, table, rule.moments(table))
    if rule.kind == "group":
        return _by_group(settings, *rule.groups(table))
    numbers = None if classes is None else np.unique(classes.astype(str), return_inverse=True)[1]
    learn, test = split(len(table), settings.test, generator(settings.seed, "test"), numbers)
    learn_numbers = numbers[learn] if numbers is not None else None
    if is_folded(settings, len(learn)):
        parts = folds(len(learn), _folds(settings, len(learn)), generator(settings.seed, "validation"), learn_numbers)
        return RowSplit(learn, test, [(learn[train], learn[left_out]) for train, left_out in parts])
    networks = []
    for k in range(_networks(settings, len(learn))):
        train, validation = split(
            len(learn), _validation(settings), generator(settings.seed, "validation", k), learn_numbers
        )
        networks.append((learn[train], learn[validation]))
    return RowSplit(learn, test, networks)


def _in_time(settings: TabularSettings, table: Table, moments: npt.NDArray[np.float64]) -> RowSplit:
    everything = np.arange(len(moments))
    learn, test, said = everything, everything[:0], ""
    if settings.test:
        edge = latest_from(moments, settings.test, "the test")
        learn, test = np.flatnonzero(moments < edge), np.flatnonzero(moments >= edge)
        column = settings.split.resolved(table).column
        assert column is not None
        said = f"rows, the last ones by {column!r}, from {moment_text(table, column, edge)} on"
    times = moments[learn]
    if is_folded(settings, len(learn)):
        edges = np.unique(np.quantile(times, np.linspace(0, 1, _folds(settings, len(learn)) + 1)[1:-1]))
        stretch = np.searchsorted(edges, times, side="right")
        parts = [(learn[stretch != k], learn[stretch == k]) for k in np.unique(stretch).tolist()]
        if len(parts) > 1:
            return RowSplit(learn, test, parts, said)
    train, validation = learn, learn[:0]
    if (share := _validation(settings)) > 0:
        edge = latest_from(times, share, "validation")
        train, validation = learn[times < edge], learn[times >= edge]
    return RowSplit(learn, test, [(train, validation)] * _networks(settings, len(learn)), said)


def _by_group(settings: TabularSettings, groups: Indices, labels: list[str]) -> RowSplit:
    learn, test = split_groups(groups, settings.test, generator(settings.seed, "test"), "the test")
    held = len(np.unique(groups[test]))
    said = f"rows, all of {held:,} of the {len(labels):,} groups by {settings.split.column!r}"
    if is_folded(settings, len(learn)):
        parts = folds_of_groups(groups[learn], _folds(settings, len(learn)), generator(settings.seed, "validation"))
        return RowSplit(learn, test, [(learn[train], learn[left_out]) for train, left_out in parts], said)
    networks = []
    for k in range(_networks(settings, len(learn))):
        random = generator(settings.seed, "validation", k)
        what = "validation, another being that of the test" if len(test) else "validation"
        train, validation = split_groups(groups[learn], _validation(settings), random, what)
        networks.append((learn[train], learn[validation]))
    return RowSplit(learn, test, networks, said)


def _validation(settings: TabularSettings) -> float:
    return defaults.VALIDATION if settings.validation is None else settings.validation


def _folds(settings: TabularSettings, records: int) -> int:
    """Return in how many parts rows are cut of which each network leaves out another."""
    return 5 if settings.best else defaults.folds(records)


def _networks(settings: TabularSettings, records: int) -> int:
    """Return how many networks are averaged, on so many rows that are not for the test.

    Raises
    ------
    InputError
        If their rows alone, drawn for each before the first is trained, do not fit into memory.
    """
    wanted = settings.average or (1 if _is_single(settings, records) else defaults.folds(records))
    need = wanted * records * np.dtype(np.int64).itemsize
    if wanted > records and (left := memory.room()) is not None and need > left.bytes:
        raise InputError(
            f"{keyword('average', wanted)} needs {memory.gigabytes(need)} for the rows of each network, but only "
            f"{left} is available: average fewer; five to ten are usual"
        )
    return wanted


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
    return _goes_by_rows_left_out(settings, records) and not defaults.FEW < records <= defaults.SMALL


def stops_together(settings: TabularSettings, records: int) -> bool:
    """Return whether rows left out say when all networks stop, before the training that is kept."""
    return _goes_by_rows_left_out(settings, records) and defaults.FEW < records <= defaults.SMALL


def unasked(settings: TabularSettings, records: int) -> list[str]:
    """Return what to say where rows left out would choose the penalty and the end, but for what the user asked for."""
    changes = [keyword(name) for name in _changes(settings) if name != "patience"]  # 0 of that says it itself
    if not changes or not is_folded(settings, records) or chooses_penalty(settings):
        return []
    said = f"with {' and '.join(changes)}, rows left out choose "
    if settings.l2 is not None:
        return [f"{said}no epoch at which all networks stop: each stops by itself"]
    return [
        f"{said}neither the penalty nor when all networks stop: each takes the penalty for a table of this size, "
        f"unless you say {keyword('l2')}, and stops by itself"
    ]


def _goes_by_rows_left_out(settings: TabularSettings, records: int) -> bool:
    return is_folded(settings, records) and not _changes(settings) and not chooses_penalty(settings)


def _changes(settings: TabularSettings) -> list[str]:
    """Return what was asked for that a choice by rows left out does not know."""
    constant = describe(resolve("schedule", settings.schedule)) == describe(resolve("schedule", "constant"))
    found = {
        "checkpoint": settings.checkpoint is not None,
        "retries": bool(settings.retries),
        "patience": settings.patience == 0,
        "schedule": not constant,
    }
    return [name for name, asked in found.items() if asked]
