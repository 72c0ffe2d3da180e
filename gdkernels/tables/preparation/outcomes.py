"""The outcomes to predict: classes, or standardised numbers, after a logarithm if they are skewed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.errors import InputError, keyword
from gdkernels.files.schema import require_fields
from gdkernels.tables.column.column_data import Column, Floats, Rows, finding_of, number_or_nan, number_text
from gdkernels.tables.column.meaning import labels_of, read_as
from gdkernels.tables.column.reading import NUMBER, TEXT, Reading
from gdkernels.tables.features.columns import FIRST_NUMBERS
from gdkernels.tables.features.scaling import Scaling, median, refuse_extremes, skewness
from gdkernels.tables.table.checked import is_whole, label_of, numbers_of
from gdkernels.tables.table.table import Table

__all__ = ["Bounds", "Classes", "Numbers", "bounds_text", "labels", "offset_of"]

Bounds = str | tuple[float | None, float | None] | None  # "auto", or the lowest and the highest

SKEWED = 1.0


def labels(table: Table, name: str) -> npt.NDArray[Any]:
    """Return the label of each record as it is spelled, 3.0 as 3; there must be no gaps."""
    return _labels(table.columns[name])


def _labels(column: Column) -> npt.NDArray[Any]:
    text = labels_of(column)
    spelled = np.array([label_of(level) for level in text.levels], dtype=object)
    return np.asarray(text.lookup(spelled, ""))


@dataclass(frozen=True)
class Classes:
    """The labels of a classification: whole numbers, other numbers, or text, ascending.

    Attributes
    ----------
    reading
        The reading of its cells: which are gaps, and whether they are truth values.
    """

    target: str
    labels: tuple[Any, ...]
    reading: Reading = TEXT

    @classmethod
    def fit(cls, table: Table, target: str) -> Classes:
        """Learn from the training rows.

        Raises
        ------
        InputError
            If there is nothing to learn.
        """
        found = sorted(set(labels(table, target).tolist()))
        if len(found) < 2:
            raise InputError(
                f"the target has one class only, {found[0]}: there is nothing to learn; choose another "
                f"{keyword('target')}"
            )
        reading = finding_of(table.columns[target]).reading
        numbers = [number_or_nan(label) for label in found]
        if not all(np.isfinite(n) and number_text(n) == f for n, f in zip(numbers, found, strict=True)):
            return cls(target, tuple(found), reading)
        own = [int(n) if is_whole(label) else n for n, label in zip(numbers, found, strict=True)]
        return cls(target, tuple(sorted(own)), reading)

    def transform(self, table: Table) -> npt.NDArray[Any]:
        """Return the index of each record's class.

        Raises
        ------
        InputError
            For a class that was not learned.
        """
        places = {str(label): k for k, label in enumerate(self.labels)}
        wanted = _labels(self._read(table.columns[self.target]))
        indices = np.array([places.get(label, -1) for label in wanted.tolist()], np.int64)
        if (indices < 0).any():
            row = int(np.argmax(indices < 0))
            raise InputError(
                f"{table.place(row, self.target)}: the class {wanted[row]} is not among those learned; leave such "
                "records out, or train on some"
            )
        return indices

    def _read(self, column: Column) -> Column:
        """Return a column of truth values as such; others are known by how they are spelled."""
        return read_as(column, self.reading) if self.reading.kind == "boolean" else column

    def restore(self, indices: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the labels of class indices."""
        kinds = {type(label) for label in self.labels}
        labels: npt.NDArray[Any] = np.array(self.labels, dtype=object if str in kinds else None)[np.asarray(indices)]
        return labels

    def to_json(self) -> dict[str, Any]:
        return {"target": self.target, "labels": list(self.labels), "reading": self.reading.to_json()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Classes:
        """Return what `to_json` described; ValueError where it is none."""
        found = tuple(value["labels"])
        if len(found) < 2 or len(set(found)) < len(found) or not all(type(v) in (int, float, str) for v in found):
            raise ValueError("no classes")
        return cls(str(value["target"]), found, Reading.from_json(value["reading"]) if "reading" in value else TEXT)


@dataclass(frozen=True)
class Numbers:
    """The targets of a regression, and the way from their numbers to those that a network is trained on.

    Attributes
    ----------
    logs
        Whether the logarithm of each target is taken.
    scaling
        None where they are left as they are.
    low, high
        The range of each target in training. What is restored through an exponential is kept inside it: a small error
        of the logarithm far out is a gross one of the number.
    readings
        The reading of each target's cells; those of the first version are plain numbers.
    offsets
        What is added to each target before the logarithm: 0, but for numbers from 0 on; () for 0 everywhere.
    bounds
        The lowest and the highest prediction of each target, None for no bound; () for none anywhere.
    """

    targets: tuple[str, ...]
    logs: tuple[bool, ...]
    scaling: Scaling | None
    low: tuple[float, ...]
    high: tuple[float, ...]
    readings: tuple[Reading, ...] = ()
    offsets: tuple[float, ...] = ()
    bounds: tuple[tuple[float | None, ...], ...] = ()

    @classmethod
    def fit(
        cls,
        table: Table,
        targets: Sequence[str],
        rows: Rows,
        *,
        standardise: bool,
        offsets: Sequence[float | None] | None = None,
        bounds: Bounds = "auto",
    ) -> Numbers:
        """Learn from the training rows.

        Parameters
        ----------
        offsets
            For each target what to add before its logarithm, None for no logarithm; None decides by the skewness, for
            targets above 0.
        bounds
            The lowest and the highest that may be predicted; "auto" is 0 and none, if no target is below 0.

        Raises
        ------
        InputError
            If there is nothing to learn.
        """
        readings = tuple(_number_reading(table.columns[name]) for name in targets)
        whole = np.column_stack([numbers_of(table, name) for name in targets])
        for name, column in zip(targets, whole.T, strict=True):
            refuse_extremes(name, column)
        values = whole[rows]
        if bool(np.all(values == values[:1])):
            raise InputError("the target has the same value in every record: there is nothing to learn")
        # A row that is held out must have a logarithm too.
        positive = whole.min(axis=0) > 0
        if offsets is None:
            logs = tuple(bool(standardise and p and _logarithmic(v)) for v, p in zip(values.T, positive, strict=True))
            added: tuple[float, ...] = ()
        else:
            logs = tuple(offset is not None for offset in offsets)
            added = tuple(offset or 0.0 for offset in offsets)
        scaling = Scaling.fit(_logged(values, logs, added), targets) if standardise else None
        low, high = tuple(values.min(axis=0).tolist()), tuple(values.max(axis=0).tolist())
        kept = tuple(_bounds_of(name, column, bounds) for name, column in zip(targets, whole.T, strict=True))
        return cls(tuple(targets), logs, scaling, low, high, readings, added, kept)

    def transform(self, table: Table) -> Floats:
        """Return the numbers that the network is to put out [records, outputs]."""
        logged = self.unscaled(table)
        return logged if self.scaling is None else self.scaling.apply(logged)

    def unscaled(self, table: Table) -> Floats:
        """Return the same before they are standardised: the targets, or their logarithms."""
        values = self.values(table)
        for k, name in enumerate(self.targets):
            offset = self.offsets[k] if self.offsets else 0.0
            wrong = values[:, k] < 0 if offset else values[:, k] <= 0
            if self.logs[k] and wrong.any():
                row = int(np.argmax(wrong))
                limit = (
                    "is below 0, as none that was trained on is"
                    if offset
                    else ("is not above 0, as all that were trained on are")
                )
                raise InputError(f"{table.place(row, name)}: {values[row, k]:g} {limit}")
        return _logged(values, self.logs, self.offsets)

    def values(self, table: Table) -> Floats:
        """Return the targets in their own terms [records, outputs]."""
        return _values(table, self.targets, self.readings or (FIRST_NUMBERS,) * len(self.targets))

    def restore(self, outputs: npt.NDArray[Any]) -> Floats:
        """Return predictions [records], or [records, outputs] where there are several."""
        values = np.asarray(outputs, np.float64)
        values = values if self.scaling is None else self.scaling.undo(values)
        for k, log in enumerate(self.logs):
            if log:
                offset = self.offsets[k] if self.offsets else 0.0
                with np.errstate(over="ignore"):
                    values[:, k] = np.clip(np.exp(values[:, k]) - offset, self.low[k], self.high[k])
        for k, (lowest, highest) in enumerate(self.bounds):
            if lowest is not None or highest is not None:
                values[:, k] = np.clip(values[:, k], lowest, highest)
        return values[:, 0] if values.shape[1] == 1 else values

    def to_json(self) -> dict[str, Any]:
        return {
            "targets": list(self.targets),
            "logs": list(self.logs),
            "scaling": self.scaling and self.scaling.to_json(),
            "low": list(self.low),
            "high": list(self.high),
            "readings": [reading.to_json() for reading in self.readings],
            "offsets": list(self.offsets),
            "bounds": [list(bounds) for bounds in self.bounds],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Numbers:
        """Return what `to_json` described; ValueError or TypeError where it is none."""
        scaling = None if value["scaling"] is None else Scaling.from_json(value["scaling"])
        rest = [tuple(value[name]) for name in ("targets", "logs", "low", "high")]
        if not rest[0] or {len(r) for r in rest} != {len(rest[0])} or (scaling and len(scaling.mean) != len(rest[0])):
            raise ValueError("no targets")
        require_fields(cls, dict(zip(("targets", "logs", "low", "high"), rest, strict=True)))
        readings = tuple(map(Reading.from_json, value.get("readings", ())))
        if len(readings) not in (0, len(rest[0])) or any(reading.kind != "number" for reading in readings):
            raise ValueError("no readings of the targets")
        offsets, bounds = tuple(value.get("offsets", ())), tuple(map(tuple, value.get("bounds", ())))
        require_fields(cls, {"offsets": offsets, "bounds": bounds})
        if (
            {len(offsets), len(bounds)} - {0, len(rest[0])}
            or any(len(pair) != 2 for pair in bounds)
            or min(offsets, default=0) < 0
        ):
            raise ValueError("no offsets or bounds of the targets")
        return cls(rest[0], rest[1], scaling, rest[2], rest[3], readings, offsets, bounds)


def _values(table: Table, targets: Sequence[str], readings: Sequence[Reading]) -> Floats:
    found = zip(targets, readings, strict=True)
    return np.column_stack([numbers_of(table, name, reading) for name, reading in found])


def _number_reading(column: Column) -> Reading:
    found = finding_of(column)
    return found.reading if found.reading.kind == "number" else found.number or NUMBER


def _logarithmic(values: Floats) -> bool:
    """Return whether numbers above 0 are skewed, and their logarithm less."""
    return skewness(values) > SKEWED and abs(skewness(np.log(values))) < skewness(values)


def _logged(values: Floats, logs: Sequence[bool], offsets: Sequence[float]) -> Floats:
    result = values.copy()
    for k, log in enumerate(logs):
        if log:
            result[:, k] = np.log(values[:, k] + offsets[k]) if offsets else np.log(values[:, k])
    return result


def offset_of(values: Floats) -> float | None:
    """Return what to add before a logarithm to skewed numbers from 0 on: 1 to counts; None where that is no way."""
    if values.min() != 0 or skewness(values) <= SKEWED:
        return None
    positive = values[values > 0]
    offset = 1.0 if np.all(values == np.round(values)) else median(positive)
    return offset if abs(skewness(np.log(values + offset))) < skewness(values) else None


def _bounds_of(name: str, values: Floats, bounds: Bounds) -> tuple[float | None, float | None]:
    """Return the bounds of the predictions of a target with these values."""
    if bounds == "auto":
        return (0.0 if values.min() >= 0 else None), None
    if bounds is None or isinstance(bounds, str):
        return None, None
    low, high = bounds
    for value in (float(values.min()), float(values.max())):
        if (low is not None and value < low) or (high is not None and value > high):
            raise InputError(
                f"the target {name!r} has the value {value:g}, beyond {keyword('bounds', bounds_text(bounds))}; widen "
                "the bounds, or correct it"
            )
    return low, high


def bounds_text(bounds: tuple[float | None, float | None]) -> str:
    """Return bounds as ``--bounds`` takes them: 0:1, or 0: without an upper one."""
    return ":".join("" if bound is None else f"{bound:g}" for bound in bounds)
