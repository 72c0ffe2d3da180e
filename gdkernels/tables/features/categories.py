"""A column of names: an input for each frequent one, and where there are many, the mean of the target by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from gdkernels.system.cached_property import cached_property
from gdkernels.tables.column.column_data import Column, Floats, Text
from gdkernels.tables.column.meaning import read_as
from gdkernels.tables.column.reading import TEXT, Reading
from gdkernels.tables.features.dropped import Dropped
from gdkernels.tables.features.level_means import differ, level_means
from gdkernels.tables.table.checked import as_labels, is_whole, label_of
from gdkernels.tables.table.table import Table

__all__ = ["TOO_RARE", "Category"]

RARE = 5  # a value of fewer training rows is pooled with the other rare ones
TOO_RARE = f"fewer than two values are in at least {RARE} training rows"
MOST_LEVELS = 100  # that have an input each; beside more, the mean of the target by value is a number
# Where that tells something, so do inputs of more values, as far as tables of few records and few values have room.
MOST_WITH_MEANS, _CELLS, _ENCODED = 1000, 20_000_000, 4_000_000
MOST_MEANS = 10_000  # further values that have a mean of their own; it takes a row of inputs for each


@dataclass(frozen=True)
class Category:
    """A value of several, a feature each; rare ones are pooled, and unseen values join them."""

    name: str
    why: str
    levels: tuple[str, ...]
    other: bool
    gaps: bool
    kind: str = "category"
    reading: Reading = TEXT
    more: tuple[str, ...] = ()
    means: tuple[tuple[float, ...], ...] = ()

    @classmethod
    def fit(cls, name: str, column: Column, note: str = "", targets: Floats | None = None) -> Category | Dropped:
        """Learn from the training rows.

        Parameters
        ----------
        note
            What else is said of the column.
        targets
            What is to be predicted [rows, outputs], of which a column of many values gets the mean of each.
        """
        text = as_labels(column)
        counts = _counts(text)
        if targets is None or len(counts) <= MOST_LEVELS:
            return cls._of(name, text, counts, note, MOST_LEVELS)
        room = min(MOST_WITH_MEANS, _CELLS // max(1, len(text.codes)), _ENCODED // len(counts))
        wide = cls._of(name, text, counts, note, max(MOST_LEVELS, room), means=True)
        assert isinstance(wide, Category)
        found = wide.with_means(text, counts, targets)
        return found if found.means else cls._of(name, text, counts, note, MOST_LEVELS)

    @classmethod
    def _of(
        cls, name: str, text: Text, counts: Mapping[str, int], note: str, most: int, *, means: bool = False
    ) -> Category | Dropped:
        """Return the column with an input for so many values; with `means` to come, it is not dropped."""
        gaps = int(np.sum(text.codes < 0))
        frequent = [level for level, count in counts.items() if count >= RARE]
        kept = sorted(sorted(frequent, key=lambda level: -counts[level])[:most])
        pooled = sum(counts.values()) - sum(counts[level] for level in kept)
        other, has_gaps = pooled >= RARE, gaps >= RARE
        if len(kept) + other + has_gaps < 2 and not means:
            if len(counts) <= 1 and not gaps:
                return Dropped(name, f"constant: {next(iter(counts), None)!r} in every training row")
            return Dropped(name, TOO_RARE)
        why = [*([note] if note else []), f"{len(counts):,} values"]
        if len(counts) > len(kept):
            why.append(f"{len(counts) - len(kept):,} rare ones pooled" if other else "the rare ones count as average")
        if gaps:
            why.append(f"{gaps:,} gaps are a value of their own" if has_gaps else "gaps count as average")
        return cls(name, "; ".join(why), tuple(kept), other, has_gaps, reading=text.finding.reading)

    def with_means(self, text: Text, counts: Mapping[str, int], targets: Floats) -> Category:
        """Return the column with the mean of the targets by value, also of rare ones; itself if they do not differ."""
        repeated = [level for level, count in counts.items() if count > 1 and level not in self.rows]
        most = sorted(repeated, key=lambda level: -counts[level])[:MOST_MEANS]
        wider = replace(self, more=tuple(sorted(most)))
        codes = wider.codes(text)
        count = wider.unknown + 1 + len(wider.more)
        if not differ(codes, targets, count):
            return self
        *means, of_all = level_means(codes, targets, count).tolist()
        means[wider.unknown] = of_all
        why = f"{self.why}; the mean of the target by value, drawn towards that of all, as a number beside"
        return replace(wider, why=why, means=tuple(map(tuple, means)))

    @property
    def outputs(self) -> int:
        """The number of features that are means of the target."""
        return len(self.means[0]) if self.means else 0

    @property
    def features(self) -> tuple[str, ...]:
        means = [f"{self.name} mean {k + 1}" if k else f"{self.name} mean" for k in range(self.outputs)]
        return (*self._names, *means)

    @property
    def _names(self) -> tuple[str, ...]:
        whole = [f"{self.name}={level}" for level in self.levels]
        whole += [f"{self.name} other"] * self.other + [f"{self.name} missing"] * self.gaps
        return tuple(whole[:1] if len(whole) == 2 else whole)  # of two, the second says the same

    def encode(self, table: Table) -> Floats:
        encoded: Floats = self.encodings[self.codes_in(table)]
        return encoded

    def codes_in(self, table: Table) -> npt.NDArray[np.int64]:
        """Return for each record of a table the row of `encodings` that it takes."""
        return self.codes(read_as(table.columns[self.name], self.reading))

    def codes(self, column: Column) -> npt.NDArray[np.int64]:
        """Return the same for a column as it is to be read."""
        text, rows = as_labels(column), self.rows
        wanted = np.array([rows.get(level, self.unseen) for level in text.levels], np.int64)
        found: npt.NDArray[np.int64] = text.lookup(wanted, self.missing)
        return found

    # What follows is how a cell becomes features, here and in the ONNX model that is made of it.

    @cached_property
    def encodings(self) -> Floats:
        """The features of each level, of rare ones, of a gap, of unknown values, and of rare ones that have a mean."""
        count = self.unknown
        rare = (
            np.eye(count)[[len(self.levels)] * len(self.more)]
            if self.other
            else np.full((len(self.more), count), np.nan)
        )
        encoded = np.vstack([np.eye(count), np.full(count, np.nan), rare])[:, : len(self._names)]
        return np.hstack([encoded, np.array(self.means)]) if self.means else encoded

    @cached_property
    def rows(self) -> dict[str, int]:
        """By the text of a cell, without spaces around it, the row of `encodings` that it takes; others are unseen."""
        known = {level: k for k, level in enumerate(self.levels)}
        known |= {level: k for k, level in enumerate(self.more, self.unknown + 1)}
        return known | {f"{level}.0": k for level, k in known.items() if is_whole(level)}

    @property
    def unseen(self) -> int:
        """The row of a value that was rare, or not there in training."""
        return len(self.levels) if self.other else len(self.levels) + self.gaps

    @property
    def unknown(self) -> int:
        """The row of a value of which nothing is known."""
        return len(self.levels) + self.other + self.gaps

    @property
    def missing(self) -> int:
        """The row of a gap."""
        return len(self.levels) + self.other if self.gaps else self.unseen


def _counts(text: Text) -> dict[str, int]:
    numbers = np.bincount(text.codes[text.codes >= 0], minlength=len(text.levels))
    counts: dict[str, int] = {}
    for level, count in zip(text.levels, numbers.tolist(), strict=True):
        if count:
            counts[label_of(level)] = counts.get(label_of(level), 0) + count
    return counts
