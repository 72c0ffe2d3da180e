"""The ways to use a column: as numbers, classes of text, dates, or not; learned from training rows, kept in JSON.

Each kind says why it was chosen, and gives features [records, features]. A feature that is NaN is unknown: after
standardising it becomes 0, the average.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.files.schema import require_fields
from gdkernels.tables.cells.dates import is_clock
from gdkernels.tables.column.column_data import Floats, Text, number_text
from gdkernels.tables.column.reading import MISSING, NUMBER, TEXT, Reading, date_reading
from gdkernels.tables.features.categories import Category
from gdkernels.tables.features.dropped import Dropped
from gdkernels.tables.features.scaling import median, skewness
from gdkernels.tables.table.checked import (
    CLOCK_PARTS,
    DAY_PARTS,
    PARTS,
    dates_of,
    days_of,
    numbers_of,
    split,
)
from gdkernels.tables.table.table import Table

__all__ = [
    "FIRST_NUMBERS",
    "Category",
    "Date",
    "Dropped",
    "Kind",
    "Number",
    "from_json",
]

# A gap tells something of its own where it is not an accident: an indicator for less would be noise.
GAPS = 0.01
# The days in which a part of a date comes round. In fewer than two such cycles, it is no other than the course of time.
_CYCLES = {"month": 365.25, "day": 30.4, "weekday": 7.0, "hour": 1.0}
SKEWED = 1.0  # a normal distribution has 0, an exponential one 2

# How the first version read what it trained on.
FIRST_NUMBERS = replace(NUMBER, gaps=MISSING)


@dataclass(frozen=True)
class Number:
    """A number; gaps become the median, with an indicator where there were enough of them."""

    name: str
    why: str
    median: float
    log: float | None
    indicator: bool
    kind: str = "number"
    reading: Reading = FIRST_NUMBERS

    @classmethod
    def fit(cls, name: str, values: Floats, reading: Reading = NUMBER, note: str = "") -> Number | Dropped:
        """Learn from the training rows; `note` is what else is said of the column."""
        gaps = np.isnan(values)
        present = values[~gaps] if gaps.any() else values
        if not len(present):
            return Dropped(name, "no training row has a value")
        constant = bool(np.all(present == present[0]))
        indicator = gaps.mean() >= GAPS
        if constant and not indicator:
            return Dropped(name, f"constant: {number_text(present[0])} in every training row that has a value")
        log = None if constant else _log_offset(present)
        why = [note] if note else []
        if log is not None:
            why.append("skewed, so its logarithm" + (f" of {log:.4g} + it" if log else ""))
        if gaps.any():
            why.append(f"{gaps.mean():.1%} gaps become the median" + (", with an indicator" if indicator else ""))
        return cls(name, "; ".join(why), median(present), log, bool(indicator), reading=reading)

    @property
    def features(self) -> tuple[str, ...]:
        return (self.name, f"{self.name} missing") if self.indicator else (self.name,)

    def encode(self, table: Table) -> Floats:
        values = numbers_of(table, self.name, self.reading)
        gaps = np.isnan(values)
        filled = np.where(gaps, self.median, values)
        if self.log is not None:
            filled = np.log(np.maximum(filled, 0.0 if self.log else np.finfo(float).tiny) + self.log)
        return np.column_stack([filled, gaps]) if self.indicator else filled[:, None]


def _log_offset(values: Floats) -> float | None:
    """Return what to add before the logarithm, or None where that would not make `values` less skewed."""
    if values.min() < 0 or skewness(values) < SKEWED:
        return None
    # With zeros, the scale on which a logarithm bends is that of what is not zero.
    offset = 0.0 if values.min() > 0 else median(values[values > 0])
    return offset if abs(skewness(np.log(values + offset))) < skewness(values) else None


def _median_of_counted(values: Floats, counts: npt.NDArray[np.int64]) -> float:
    """Return the median of numbers each of which is there so many times."""
    order = np.argsort(values)
    upto = np.cumsum(counts[order])
    middle = np.searchsorted(upto, [(upto[-1] - 1) // 2, upto[-1] // 2], side="right")
    return float(np.mean(values[order[middle]]))


@dataclass(frozen=True)
class Date:
    """A date, split into the parts that vary."""

    name: str
    why: str
    pattern: str
    parts: tuple[str, ...]
    fill: tuple[float, ...]
    indicator: bool
    kind: str = "date"
    reading: Reading = TEXT

    @classmethod
    def fit(cls, name: str, column: Text, reading: Reading, *, later: bool = False) -> Date | Dropped:
        """Learn from the training rows.

        Parameters
        ----------
        later
            Whether later dates are to be predicted: in a year of training, each month is known from one time alone.
        """
        pattern = reading.format
        days = days_of(column.levels, pattern)
        counts = np.bincount(column.codes[column.codes >= 0], minlength=len(days))
        seen = (counts > 0) & ~np.isnan(days[:, 0])
        days, counts = days[seen], counts[seen]
        ones = CLOCK_PARTS if is_clock(pattern) else DAY_PARTS
        parts = [k for k, part in enumerate(PARTS) if part in ones and len(days) and np.ptp(days[:, k]) > 0]
        span = float(np.ptp(days[:, 0])) if len(days) else 0.0
        once = [k for k in parts if later and span < 2 * _CYCLES.get(PARTS[k], 0.0)]
        parts = [k for k in parts if k not in once]
        if not parts:
            return Dropped(name, "constant: a single date in every training row that has one")
        indicator = bool(np.mean(column.codes < 0) >= GAPS)
        names = tuple(PARTS[k] for k in parts)
        why = f"a {'time' if is_clock(pattern) else 'date'} ({pattern}), split into {', '.join(names)}"
        if once:
            left_out = " and ".join(PARTS[k] for k in once)
            why += f"; {left_out} left out, as the {span:,.0f} days of training are no two cycles of it"
        fill = tuple(_median_of_counted(days[:, k], counts) for k in parts)
        return cls(name, why, pattern, names, fill, indicator, reading=reading)

    @property
    def features(self) -> tuple[str, ...]:
        return tuple(f"{self.name} {part}" for part in (*self.parts, *(["missing"] * self.indicator)))

    def encode(self, table: Table) -> Floats:
        text = dates_of(table, self.name, self.reading)
        values = split(text, self.pattern)[:, [PARTS.index(part) for part in self.parts]]
        filled = np.where(np.isnan(values), self.fill, values)
        return np.column_stack([filled, text.codes < 0]) if self.indicator else filled


Kind = Number | Category | Date | Dropped
_KINDS: dict[str, Any] = {
    "number": Number,
    "category": Category,
    "date": Date,
    "dropped": Dropped,
}


def to_json(kind: Kind) -> dict[str, Any]:
    """Return a column's preparation as JSON can hold it."""
    values = {field.name: getattr(kind, field.name) for field in fields(kind)}
    if isinstance(kind, Dropped):
        del values["features"]
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
    return plain if isinstance(kind, Dropped) else plain | {"reading": kind.reading.to_json()}


def from_json(value: Mapping[str, Any]) -> Kind:
    """Return what `to_json` described, or the first version did; ValueError, KeyError or TypeError where it is none."""
    given: dict[str, Any] = {k: _as_tuples(v) for k, v in value.items()}
    reading = given.pop("reading", None)
    made = _KINDS[given["kind"]]
    require_fields(made, given)
    kind: Kind = made(**{k: _as_floats(v) for k, v in given.items()})
    if not isinstance(kind, Dropped):
        kind = replace(kind, reading=_first_reading(kind) if reading is None else Reading.from_json(reading))
    if isinstance(kind, Number) and kind.log is not None and kind.log < 0:
        raise ValueError("a logarithm of what is below 0")
    if isinstance(kind, Date) and kind.reading.format != kind.pattern:
        raise ValueError("two patterns")
    gap = kind.encode(Table({kind.name: Text(np.array([-1], np.int32), ())}))  # all of it works, on a gap
    if gap.shape != (1, len(kind.features)):
        raise ValueError("other features than it says")
    return kind


def _first_reading(kind: Number | Category | Date) -> Reading:
    """Return how the first version read what it trained on: plain numbers, and the pattern of a date."""
    if isinstance(kind, Date):
        return replace(date_reading(kind.pattern), gaps=MISSING)
    return FIRST_NUMBERS if isinstance(kind, Number) else TEXT


def _as_tuples(value: Any) -> Any:
    return tuple(map(_as_tuples, value)) if isinstance(value, list) else value


def _as_floats(value: Any) -> Any:
    """Return whole numbers as floats: NumPy would take those beyond 64 bits for objects."""
    if isinstance(value, tuple):
        return tuple(map(_as_floats, value))
    return float(value) if type(value) is int else value
