"""What becomes of a column: numbers, classes of text, dates, or nothing; learned from training rows, kept in JSON.

Each kind says why it was chosen, and gives features [records, features]. A feature that is NaN is unknown: after
standardising it becomes 0, the average.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from gdkernels.errors import InputError
from gdkernels.files.schema import require_fields
from gdkernels.tables import dates
from gdkernels.tables.scaling import skewness
from gdkernels.tables.table import Column, Floats, Table, Text, as_text, number_or_nan, number_text

__all__ = ["Category", "Date", "Dropped", "Kind", "Number", "from_json", "label_of", "numbers_of"]

# A gap tells something of its own where it is not an accident: an indicator for less would be noise.
GAPS = 0.01
SKEWED = 1.0  # a normal distribution has 0, an exponential one 2
RARE = 5  # a value of fewer training rows is pooled with the other rare ones
MOST_LEVELS = 100


@dataclass(frozen=True)
class Dropped:
    """A column that is not used."""

    name: str
    why: str
    kind: str = "dropped"
    features: tuple[str, ...] = ()

    def encode(self, table: Table) -> Floats:
        return np.zeros((len(table), 0))


@dataclass(frozen=True)
class Number:
    """A number; gaps become the median, with an indicator where there were enough of them."""

    name: str
    why: str
    median: float
    log: float | None
    indicator: bool
    kind: str = "number"

    @classmethod
    def fit(cls, name: str, values: Floats) -> Number | Dropped:
        """Learn from the training rows."""
        gaps = np.isnan(values)
        present = values[~gaps]
        if not len(present):
            return Dropped(name, "no training row has a value")
        constant = bool(np.all(present == present[0]))
        indicator = gaps.mean() >= GAPS
        if constant and not indicator:
            return Dropped(name, f"constant: {number_text(present[0])} in every training row that has a value")
        log = None if constant else _log_offset(present)
        why = [] if log is None else ["skewed, so its logarithm" + (f" of {log:.4g} + it" if log else "")]
        if gaps.any():
            why.append(f"{gaps.mean():.1%} gaps become the median" + (", with an indicator" if indicator else ""))
        return cls(name, "; ".join(why), float(np.median(present)), log, bool(indicator))

    @property
    def features(self) -> tuple[str, ...]:
        return (self.name, f"{self.name} missing") if self.indicator else (self.name,)

    def encode(self, table: Table) -> Floats:
        values = numbers_of(table, self.name)
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
    offset = 0.0 if values.min() > 0 else float(np.median(values[values > 0]))
    return offset if abs(skewness(np.log(values + offset))) < skewness(values) else None


@dataclass(frozen=True)
class Category:
    """A value of several, a feature each; rare ones are pooled, and what was never seen joins them."""

    name: str
    why: str
    levels: tuple[str, ...]
    other: bool
    gaps: bool
    kind: str = "category"

    @classmethod
    def fit(cls, name: str, column: Column) -> Category | Dropped:
        """Learn from the training rows."""
        counts = _counts(column)
        gaps = int(np.sum(as_text(column).codes < 0))
        frequent = [level for level, count in counts.items() if count >= RARE]
        kept = sorted(sorted(frequent, key=lambda level: -counts[level])[:MOST_LEVELS])
        pooled = sum(counts.values()) - sum(counts[level] for level in kept)
        other, has_gaps = pooled >= RARE, gaps >= RARE
        if len(kept) + other + has_gaps < 2:
            if len(counts) <= 1 and not gaps:
                return Dropped(name, f"constant: {next(iter(counts), None)!r} in every training row")
            return Dropped(name, f"no two values are in {RARE} training rows each")
        why = [f"{len(counts):,} values"]
        if len(counts) > len(kept):
            why.append(f"{len(counts) - len(kept):,} rare ones pooled" if other else "the rare ones count as average")
        if gaps:
            why.append(f"{gaps:,} gaps are a value of their own" if has_gaps else "gaps count as average")
        return cls(name, "; ".join(why), tuple(kept), other, has_gaps)

    @property
    def features(self) -> tuple[str, ...]:
        whole = [f"{self.name}={level}" for level in self.levels]
        whole += [f"{self.name} other"] * self.other + [f"{self.name} missing"] * self.gaps
        return tuple(whole[:1] if len(whole) == 2 else whole)  # of two, the second says the same

    def encode(self, table: Table) -> Floats:
        text = as_text(_column_of(table, self.name))
        count = len(self.levels) + self.other + self.gaps
        hot = np.vstack([np.eye(count), np.full(count, np.nan)])
        places = {level: k for k, level in enumerate(self.levels)}
        unseen = len(self.levels) if self.other else count
        wanted = np.array([places.get(label_of(level), unseen) for level in text.levels], np.int64)
        rows = text.lookup(wanted, count - 1 if self.gaps else unseen)
        encoded: Floats = hot[rows][:, : len(self.features)]
        return encoded


def _counts(column: Column) -> dict[str, int]:
    text = as_text(column)
    numbers = np.bincount(text.codes[text.codes >= 0], minlength=len(text.levels))
    counts: dict[str, int] = {}
    for level, count in zip(text.levels, numbers.tolist(), strict=True):
        if count:
            counts[label_of(level)] = counts.get(label_of(level), 0) + count
    return counts


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

    @classmethod
    def fit(cls, name: str, column: Text, pattern: str) -> Date | Dropped:
        """Learn from the training rows."""
        values = dates.split(column, pattern)
        present = values[~np.isnan(values[:, 0])]
        parts = [k for k in range(len(dates.PARTS)) if len(present) and np.ptp(present[:, k]) > 0]
        if not parts:
            return Dropped(name, "constant: a single date in every training row that has one")
        indicator = bool(np.mean(column.codes < 0) >= GAPS)
        names = tuple(dates.PARTS[k] for k in parts)
        why = f"a date ({pattern}), split into {', '.join(names)}"
        return cls(name, why, pattern, names, tuple(np.median(present[:, parts], axis=0).tolist()), indicator)

    @property
    def features(self) -> tuple[str, ...]:
        return tuple(f"{self.name} {part}" for part in (*self.parts, *(["missing"] * self.indicator)))

    def encode(self, table: Table) -> Floats:
        text = as_text(_column_of(table, self.name))
        values = dates.split(text, self.pattern)[:, [dates.PARTS.index(part) for part in self.parts]]
        gaps = text.codes < 0
        wrong = np.isnan(values[:, 0]) & ~gaps
        if wrong.any():
            row = int(np.argmax(wrong))
            raise InputError(
                f"{table.place(row, self.name)}: {text.levels[text.codes[row]]!r} is not a date like those trained on "
                f"({self.pattern})"
            )
        filled = np.where(np.isnan(values), self.fill, values)
        return np.column_stack([filled, gaps]) if self.indicator else filled


Kind = Number | Category | Date | Dropped
_KINDS: dict[str, Any] = {
    "number": Number,
    "category": Category,
    "date": Date,
    "dropped": Dropped,
}


def label_of(level: str) -> str:
    """Return a value's label: numbers in one spelling, so that 3, 3.0 and a number column's 3 are the same."""
    number = number_or_nan(level)
    code = level.lstrip("+-")[:2]
    if not np.isfinite(number) or (len(code) == 2 and code[0] == "0" and code[1].isdigit()):
        return level
    return number_text(number)


def numbers_of(table: Table, name: str) -> Floats:
    """Return a column as finite numbers, NaN for gaps.

    Raises
    ------
    InputError
        For text or infinity; the message names the first such cell.
    """
    column = _column_of(table, name)
    values = column.numbers() if isinstance(column, Text) else column
    wrong = np.isinf(values)
    if isinstance(column, Text):
        wrong |= np.isnan(values) & (column.codes >= 0)
    if wrong.any():
        row = int(np.argmax(wrong))
        shown = column.levels[column.codes[row]] if isinstance(column, Text) else repr(float(values[row]))
        shown = repr(shown if len(shown) <= 40 else shown[:40] + "…")
        comma = " (a number needs a decimal point, not a comma)" if "," in shown else ""
        what = "not a finite number" if np.isinf(values[row]) else f"not a number{comma}"
        raise InputError(f"{table.place(row, name)}: {shown} is {what}; correct or remove it")
    return values


def _column_of(table: Table, name: str) -> Column:
    return table.columns[name]


def to_json(kind: Kind) -> dict[str, Any]:
    """Return a column's preparation as JSON can hold it."""
    plain = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(kind).items()}
    return {k: v for k, v in plain.items() if not (kind.kind == "dropped" and k == "features")}


def from_json(value: Mapping[str, Any]) -> Kind:
    """Return what `to_json` described; ValueError, KeyError or TypeError where it is none."""
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in value.items()}
    made = _KINDS[fields["kind"]]
    require_fields(made, fields)
    kind: Kind = made(**{k: _as_floats(v) for k, v in fields.items()})
    if isinstance(kind, Number) and kind.log is not None and kind.log < 0:
        raise ValueError("a logarithm of what is below 0")
    if isinstance(kind, Date):
        dates.check_pattern(kind.pattern)
    gap = kind.encode(Table({kind.name: Text(np.array([-1], np.int32), ())}))  # all of it works, on a gap
    if gap.shape != (1, len(kind.features)):
        raise ValueError("other features than it says")
    return kind


def _as_floats(value: Any) -> Any:
    """Return whole numbers as floats: NumPy would take those beyond 64 bits for objects."""
    if isinstance(value, tuple):
        return tuple(map(_as_floats, value))
    return float(value) if type(value) is int else value
