"""A survey of a table of any size, from a single pass over it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.randomness import generator
from gdkernels.system.progress import RecordCount
from gdkernels.tables.column.column_data import Text, numbers_in
from gdkernels.tables.preparation.outcomes import labels
from gdkernels.tables.preparation.target_columns import checked_targets
from gdkernels.tables.rows.sample import Sample
from gdkernels.tables.table.joining import joined
from gdkernels.tables.table.table import Table
from gdkernels.tables.table.table_json import table_from_json, table_to_json
from gdkernels.tabular.in_parts.part_rules import PARTS, TEST, TRAIN, VALIDATION, PartRule
from gdkernels.tabular.in_parts.table_parts import TableParts

__all__ = ["TableSurvey", "survey"]

# More labels are no classes: of text or where classes are asked for, and of numbers.
_MOST_LABELS, _MOST_CLASSES = 10_000, 20

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class TableSurvey:
    """The findings about a table.

    Attributes
    ----------
    sample
        Records that stand for all: a uniform sample, and with them the first of each label, and the lowest and the
        highest of each target.
    numbers
        Those of its records in the whole table.
    learn, validation
        Those of its rows that are not for the test, and those that are for validation.
    counts
        The number of records in each of `PARTS`.
    labels
        By label of the target, the same; None where there are too many for classes.
    firsts
        The numbers of the first records of the labels, which are for training; none where the rule moves no record.
    identifiers
        Columns that number the records.
    """

    sample: Table
    numbers: npt.NDArray[np.int64]
    learn: npt.NDArray[np.int64]
    validation: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    labels: dict[str, npt.NDArray[np.int64]] | None
    firsts: frozenset[int]
    identifiers: tuple[str, ...]

    def to_json(self) -> tuple[dict[str, Any], list[Array]]:
        """Return what JSON can hold of it, and the arrays that `from_json` takes with it."""
        head, arrays = table_to_json(self.sample)
        labels = None if self.labels is None else list(self.labels)
        counts = [] if self.labels is None else [*self.labels.values()]
        told = {"sample": head, "labels": labels, "firsts": sorted(self.firsts), "identifiers": list(self.identifiers)}
        return told, [self.numbers, self.learn, self.validation, self.counts, np.array(counts, np.int64), *arrays]

    @classmethod
    def from_json(cls, told: dict[str, Any], arrays: Sequence[Array]) -> TableSurvey:
        """Return what `to_json` told of."""
        numbers, learn, validation, counts, each, *columns = arrays
        labels = None if told["labels"] is None else dict(zip(told["labels"], each, strict=True))
        sample, firsts = table_from_json(told["sample"], columns), frozenset(told["firsts"])
        return cls(sample, numbers, learn, validation, counts, labels, firsts, tuple(told["identifiers"]))


def survey(parts: TableParts, task: str, rule: PartRule, *, seed: int, most: int) -> TableSurvey:
    """Go through a table once.

    Parameters
    ----------
    rule
        The part of each record.
    seed
        That of the sample.
    most
        The number of records in the sample.

    Raises
    ------
    FileError, InputError
        As `gdkernels.tables.read`, and for targets that are missing or have gaps.
    """
    sample: Sample[tuple[Table, Array, Array]] = Sample(
        most, generator(seed, "sample"), lambda part, rows: (part[0].take(rows).copy(), part[1][rows], part[2][rows])
    )
    counts = np.zeros(len(PARTS), np.int64)
    found: dict[str, npt.NDArray[np.int64]] | None = None if task == "regression" else {}
    firsts: dict[int, int] = {}  # by the number of a label's first record, what it was drawn for
    witnesses: list[tuple[Table, Array, Array]] = []
    extremes: dict[tuple[str, bool], tuple[float, Table, Array, Array]] = {}
    ranges: dict[str, tuple[float, float] | None] = {}
    with RecordCount("surveying", parts.progress) as bar:
        for table, numbers in parts.numbered():
            names = checked_targets(table, parts.target, task)
            which = rule.places(table, numbers)
            if found is not None:
                distinct, first, place = np.unique(labels(table, names[0]).astype(str), True, True)
                new = [(label, row) for label, row in zip(distinct.tolist(), first.tolist(), strict=True)
                       if label not in found]  # fmt: skip
                classes = task == "classification" or isinstance(table.columns[names[0]], Text)
                if len(names) > 1 or len(found) + len(new) > (_MOST_LABELS if classes else _MOST_CLASSES):
                    found, witnesses = None, []
                    for drawn in firsts.values():
                        counts[TRAIN] -= 1
                        counts[drawn] += 1
                    firsts.clear()
            if found is not None:
                for label, row in new:
                    found[label] = np.zeros(len(PARTS), np.int64)
                    if rule.free:
                        firsts[int(numbers[row])] = int(which[row])
                        which[row] = TRAIN
                    witnesses.append((table.take(np.array([row])).copy(), which[[row]], numbers[[row]]))
                for label, each in zip(distinct.tolist(), _counts(place, which, len(distinct)), strict=True):
                    found[label] += each
            for name in names:
                _widen(extremes, table, name, which, numbers)
            for name, column in table.columns.items():
                if name not in names and ranges.get(name, (0, 0)) is not None:
                    ranges[name] = _range(column, ranges.get(name))
            counts += np.bincount(which, minlength=len(PARTS))
            sample.add((table, which, numbers), len(table))
            bar.update(len(table))
    total = int(counts.sum())
    chosen = sample.parts() + witnesses + [extreme[1:] for extreme in extremes.values()]
    which = np.concatenate([w for _, w, _ in chosen])
    numbering = [name for name, span in ranges.items() if span is not None and span[1] - span[0] == total - 1]
    return TableSurvey(
        joined([t for t, _, _ in chosen], chosen[0][0].source),
        np.concatenate([numbers for _, _, numbers in chosen]),
        np.flatnonzero(which != TEST),
        np.flatnonzero(which == VALIDATION),
        counts,
        found,
        frozenset(firsts),
        tuple(numbering),
    )


def _counts(place: Array, which: Array, count: int) -> Array:
    size = len(PARTS)
    return np.bincount(place.reshape(-1) * size + which, minlength=count * size).reshape(count, size)


def _widen(
    extremes: dict[tuple[str, bool], tuple[float, Table, Array, Array]],
    table: Table,
    name: str,
    which: Array,
    numbers: Array,
) -> None:
    """Keep the record with the lowest and that with the highest number of a target."""
    column = table.columns[name]
    values = numbers_in(column)
    if np.isnan(values).all():
        return
    for high in (False, True):
        row = int(np.nanargmax(values if high else -values))
        best = extremes.get((name, high))
        if best is None or (values[row] > best[0] if high else values[row] < best[0]):
            rows = np.array([row])
            extremes[name, high] = float(values[row]), table.take(rows).copy(), which[rows], numbers[rows]


def _range(column: Any, before: tuple[float, float] | None) -> tuple[float, float] | None:
    """Return the lowest and the highest of a column, with what came before; None unless all are whole numbers."""
    if isinstance(column, Text):
        return None
    values = numbers_in(column)
    if not np.all(values == np.round(values)):
        return None
    low, high = float(values.min()), float(values.max())
    return (low, high) if before is None else (min(low, before[0]), max(high, before[1]))
