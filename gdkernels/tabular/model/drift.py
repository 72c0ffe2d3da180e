"""How records differ from those of training: the share of each column that is out of range, unseen or missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.files.schema import require_fields
from gdkernels.tables import Preparation, Table
from gdkernels.tables.cells.dates import is_clock
from gdkernels.tables.column.column_data import Floats, number_text
from gdkernels.tables.column.meaning import read_as
from gdkernels.tables.features.columns import Category, Date, Dropped, Kind
from gdkernels.tables.preparation.target_columns import gaps_of
from gdkernels.tables.table.checked import DAY_PARTS, as_labels, dates_of, days_of, numbers_of

__all__ = ["ColumnProfile", "Drift", "kept_profiles", "profiles_of"]

_NOTICEABLE = 0.01  # of the records, more than in training


@dataclass(frozen=True)
class ColumnProfile:
    """A column as it was in training.

    Attributes
    ----------
    low, high
        The range of its numbers, or of its dates in days since 1970; None for names and times of day.
    missing, unseen
        The share of its cells that were gaps, and that were names too rare to be learned.
    """

    name: str
    low: float | None
    high: float | None
    missing: float
    unseen: float

    @classmethod
    def from_json(cls, value: Any) -> ColumnProfile:
        """Return what `dataclasses.asdict` made; TypeError where it is none."""
        require_fields(cls, value)
        return cls(**value)


def profiles_of(table: Table, preparation: Preparation, encoded: Floats) -> list[ColumnProfile]:
    """Return the profile of each column that is used, in the rows of training.

    Parameters
    ----------
    encoded
        The features of these rows, among which are the days of their dates, with gaps filled from between them.
    """
    found, places = [], {feature: place for place, feature in enumerate(preparation.features)}
    for kind in preparation.columns:
        if isinstance(kind, Dropped):
            continue
        place = places.get(f"{kind.name} {DAY_PARTS[0]}") if isinstance(kind, Date) else None
        values, missing, unseen = _cells(table, kind, None if place is None else encoded[:, place])
        ends: tuple[float | None, float | None] = (None, None)
        if values is not None and not missing.all():
            ends = float(np.nanmin(values)), float(np.nanmax(values))
        found.append(ColumnProfile(kind.name, *ends, float(missing.mean()), float(unseen.mean())))
    return found


class Drift:
    """The shares of what training has not seen, of records that come part by part.

    Parameters
    ----------
    profiles
        Those of training; without them, as in models of earlier versions, ranges are unknown.
    """

    def __init__(self, preparation: Preparation, profiles: Sequence[ColumnProfile]) -> None:
        self._kinds = [kind for kind in preparation.columns if not isinstance(kind, Dropped)]
        self._known: Mapping[str, ColumnProfile] = {profile.name: profile for profile in profiles}
        self._counts = {kind.name: np.zeros(3, np.int64) for kind in self._kinds}
        self._preparation = preparation
        self.records = 0

    def add(self, table: Table) -> None:
        """Add records; raises InputError where a column that the model needs is not there, or is none."""
        self._preparation.check_columns(table, [kind.name for kind in self._kinds])
        self.records += len(table)
        for kind in self._kinds:
            values, missing, unseen = _cells(table, kind)
            known, beyond = self._known.get(kind.name), 0
            if values is not None and known is not None and known.low is not None and known.high is not None:
                beyond = int(np.count_nonzero((values < known.low) | (values > known.high)))
            self._counts[kind.name] += np.array([beyond, np.count_nonzero(unseen), np.count_nonzero(missing)])

    def as_dicts(self) -> list[dict[str, Any]]:
        """Return for each column the shares, and with ``trained`` those of training and the range there."""
        return [
            {
                "column": name,
                **dict(zip(("out_of_range", "unseen", "missing"), (counts / self.records).tolist(), strict=True)),
                "trained": asdict(self._known[name]) if name in self._known else None,
            }
            for name, counts in self._counts.items()
            if self.records
        ]

    def lines(self, most: int = 10) -> list[str]:
        """Return a sentence for each column of which noticeably more is new than in training."""
        told = [line for line in map(self._line, self.as_dicts()) if line]
        return told if len(told) <= most else [*told[:most], f"{len(told) - most:,} more columns differ from training"]

    def _line(self, told: Mapping[str, Any]) -> str:
        trained = told["trained"] or {"missing": 0.0, "unseen": 0.0}
        said = []
        if told["out_of_range"] > 0 and (told["out_of_range"] >= _NOTICEABLE or self.records < 1 / _NOTICEABLE):
            ends = " to ".join(self._end(told["column"], trained[side]) for side in ("low", "high"))
            how = "held at its border" if self._preparation.borders is not None else "extrapolated"
            said.append(f"{told['out_of_range']:.1%} out of the range of training, {ends}, and {how}")
        for what in ("unseen", "missing"):
            if told[what] > trained[what] + _NOTICEABLE:
                before = f" ({trained[what]:.1%} in training)" if told["trained"] else ""
                said.append(f"{told[what]:.1%} {what}{before}")
        return f"column {told['column']!r}: {', '.join(said)}" if said else ""

    def _end(self, name: str, value: float) -> str:
        dates = {kind.name for kind in self._kinds if isinstance(kind, Date)}
        return str(np.datetime64(int(value), "D")) if name in dates else number_text(value)


def _cells(
    table: Table, kind: Kind, days: Floats | None = None
) -> tuple[Floats | None, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return a column's numbers, or days, if it has such, and masks of its gaps and of its unknown names.

    Parameters
    ----------
    days
        Those of a column of dates, where they are known: reading a million takes seconds.
    """
    assert not isinstance(kind, Dropped)
    nothing = np.zeros(len(table), bool)
    if isinstance(kind, Category):
        text = as_labels(read_as(table.columns[kind.name], kind.reading))
        known = kind.rows
        return None, text.codes < 0, text.lookup(np.array([level not in known for level in text.levels], bool), False)
    if isinstance(kind, Date):
        if days is not None:
            column = read_as(table.columns[kind.name], kind.reading)
            return days, gaps_of(column), nothing
        text = dates_of(table, kind.name, kind.reading)
        if is_clock(kind.pattern):
            return None, text.codes < 0, nothing
        return text.lookup(days_of(text.levels, kind.pattern)[:, 0], np.nan), text.codes < 0, nothing
    values = numbers_of(table, kind.name, kind.reading)
    return values, np.isnan(values), nothing


def kept_profiles(extra: Mapping[str, Any]) -> list[ColumnProfile]:
    """Return the profiles that a model file keeps, none of an earlier version; TypeError where they are none."""
    return [ColumnProfile.from_json(value) for value in extra.get("profiles") or ()]
