"""What is to be predicted: classes, or numbers that are standardised, after a logarithm where they are skewed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.errors import InputError, keyword
from gdkernels.files.schema import require_fields
from gdkernels.tables.columns import label_of, numbers_of
from gdkernels.tables.scaling import Scaling, skewness
from gdkernels.tables.table import Floats, Table, as_text, number_or_nan, number_text

__all__ = ["Classes", "Numbers", "labels"]

SKEWED = 1.0


def labels(table: Table, name: str) -> npt.NDArray[Any]:
    """Return the label of each record as text, numbers in one spelling; there must be no gaps."""
    text = as_text(table.columns[name])
    spelled = np.array([label_of(level) for level in text.levels], dtype=object)
    return np.asarray(text.lookup(spelled, ""))


@dataclass(frozen=True)
class Classes:
    """The labels of a classification: whole numbers, other numbers, or text, ascending."""

    target: str
    labels: tuple[Any, ...]

    @classmethod
    def fit(cls, table: Table, target: str) -> Classes:
        """Learn from the training rows.

        Raises
        ------
        InputError
            Where there is nothing to learn.
        """
        found = sorted(set(labels(table, target).tolist()))
        if len(found) < 2:
            raise InputError(
                f"the target has one class only, {found[0]}: there is nothing to learn; choose another "
                f"{keyword('target')}"
            )
        numbers = [number_or_nan(label) for label in found]
        if not all(np.isfinite(n) and number_text(n) == f for n, f in zip(numbers, found, strict=True)):
            return cls(target, tuple(found))
        return cls(target, tuple(sorted(int(n) if n == round(n) else n for n in numbers)))

    def transform(self, table: Table) -> npt.NDArray[Any]:
        """Return the index of each record's class.

        Raises
        ------
        InputError
            For a class that was not learned.
        """
        places = {str(label): k for k, label in enumerate(self.labels)}
        wanted = labels(table, self.target)
        indices = np.array([places.get(label, -1) for label in wanted.tolist()], np.int64)
        if (indices < 0).any():
            row = int(np.argmax(indices < 0))
            raise InputError(f"{table.place(row, self.target)}: the class {wanted[row]} is not among those learned")
        return indices

    def restore(self, indices: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the labels of class indices."""
        kinds = {type(label) for label in self.labels}
        labels: npt.NDArray[Any] = np.array(self.labels, dtype=object if str in kinds else None)[np.asarray(indices)]
        return labels

    def to_json(self) -> dict[str, Any]:
        return {"target": self.target, "labels": list(self.labels)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Classes:
        """Return what `to_json` described; ValueError where it is none."""
        found = tuple(value["labels"])
        if len(found) < 2 or len(set(found)) < len(found) or not all(type(v) in (int, float, str) for v in found):
            raise ValueError("no classes")
        return cls(str(value["target"]), found)


@dataclass(frozen=True)
class Numbers:
    """How the numbers of a regression become those that a network is trained on.

    Attributes
    ----------
    logs
        Whether the logarithm of each target is taken.
    scaling
        None where they are left as they are.
    low, high
        The range of each target in training. What is restored through an exponential is kept inside it: a small error
        of the logarithm far out is a gross one of the number.
    """

    targets: tuple[str, ...]
    logs: tuple[bool, ...]
    scaling: Scaling | None
    low: tuple[float, ...]
    high: tuple[float, ...]

    @classmethod
    def fit(cls, table: Table, targets: Sequence[str], rows: npt.NDArray[np.int64], *, standardise: bool) -> Numbers:
        """Learn from the training rows.

        Raises
        ------
        InputError
            Where there is nothing to learn.
        """
        whole = _values(table, targets)
        values = whole[rows]
        if bool(np.all(values == values[:1])):
            raise InputError("the target has the same value in every record: there is nothing to learn")
        # A row that is held out must have a logarithm too.
        positive = whole.min(axis=0) > 0
        logs = tuple(bool(standardise and p and _logarithmic(v)) for v, p in zip(values.T, positive, strict=True))
        scaling = Scaling.fit(_logged(values, logs), targets) if standardise else None
        return cls(
            tuple(targets), logs, scaling, tuple(values.min(axis=0).tolist()), tuple(values.max(axis=0).tolist())
        )

    def transform(self, table: Table) -> Floats:
        """Return the numbers that the network is to put out [records, outputs]."""
        values = _values(table, self.targets)
        for k, name in enumerate(self.targets):
            if self.logs[k] and (values[:, k] <= 0).any():
                row = int(np.argmax(values[:, k] <= 0))
                raise InputError(
                    f"{table.place(row, name)}: {values[row, k]:g} is not above 0, as all that were trained on are"
                )
        logged = _logged(values, self.logs)
        return logged if self.scaling is None else self.scaling.apply(logged)

    def restore(self, outputs: npt.NDArray[Any]) -> Floats:
        """Return predictions [records], or [records, outputs] where there are several."""
        values = np.asarray(outputs, np.float64)
        values = values if self.scaling is None else self.scaling.undo(values)
        for k, log in enumerate(self.logs):
            if log:
                with np.errstate(over="ignore"):
                    values[:, k] = np.clip(np.exp(values[:, k]), self.low[k], self.high[k])
        return values[:, 0] if values.shape[1] == 1 else values

    def to_json(self) -> dict[str, Any]:
        return {
            "targets": list(self.targets),
            "logs": list(self.logs),
            "scaling": self.scaling and self.scaling.to_json(),
            "low": list(self.low),
            "high": list(self.high),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Numbers:
        """Return what `to_json` described; ValueError or TypeError where it is none."""
        scaling = None if value["scaling"] is None else Scaling.from_json(value["scaling"])
        rest = [tuple(value[name]) for name in ("targets", "logs", "low", "high")]
        if not rest[0] or {len(r) for r in rest} != {len(rest[0])} or (scaling and len(scaling.mean) != len(rest[0])):
            raise ValueError("no targets")
        require_fields(cls, dict(zip(("targets", "logs", "low", "high"), rest, strict=True)))
        return cls(rest[0], rest[1], scaling, rest[2], rest[3])


def _values(table: Table, targets: Sequence[str]) -> Floats:
    return np.column_stack([numbers_of(table, name) for name in targets])


def _logarithmic(values: Floats) -> bool:
    """Return whether numbers above 0 are skewed, and their logarithm less."""
    return skewness(values) > SKEWED and abs(skewness(np.log(values))) < skewness(values)


def _logged(values: Floats, logs: Sequence[bool]) -> Floats:
    result = values.copy()
    for k, log in enumerate(logs):
        if log:
            result[:, k] = np.log(values[:, k])
    return result
