"""The part of a record of a table that is read in parts: training, validation or test, told from it alone."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from gdkernels.randomness import generator
from gdkernels.system.progress import RecordCount
from gdkernels.tables.rows.sample import Sample
from gdkernels.tables.table.table import Table
from gdkernels.tabular.in_parts.table_parts import TableParts
from gdkernels.tabular.settings import TabularSettings, defaults
from gdkernels.tabular.settings.split_rules import SplitRule, latest_from, moment_text

__all__ = [
    "PARTS",
    "TEST",
    "TRAIN",
    "VALIDATION",
    "GroupParts",
    "PartRule",
    "RandomParts",
    "TimeParts",
    "part_rule",
    "rule_of_json",
]

PARTS = ("train", "validation", "test")
TRAIN, VALIDATION, TEST = range(len(PARTS))

_CHUNK = 65_536

Places = npt.NDArray[np.int64]


class PartRule(Protocol):
    """Tells the part of each record."""

    @property
    def free(self) -> bool:
        """Whether a record may be moved to training, so that each class has one there."""
        ...

    @property
    def said(self) -> str:
        """The records of the test, for people."""
        ...

    def places(self, table: Table, numbers: Places) -> Places:
        """Return for each record of a part of the table its place in `PARTS`; `numbers` are theirs in the whole."""
        ...

    def to_json(self) -> dict[str, Any]:
        """Return what `rule_of_json` makes the same rule of."""
        ...


@dataclass(frozen=True)
class RandomParts:
    """A random split of records into training, validation and test: each drawn by itself, by its number in the data."""

    seed: int
    test: float
    validation: float
    free: bool = True
    said: str = "rows kept from training and stopping"

    def of(self, first: int, count: int) -> Places:
        """Return for each of so many records its place in `PARTS`."""
        chunks = range(first // _CHUNK, -(-(first + count) // _CHUNK))
        drawn = np.concatenate([generator(self.seed, "rows", k).random(_CHUNK) for k in chunks])
        return _places(drawn[first - chunks.start * _CHUNK :][:count], self.test, self.validation)

    def places(self, table: Table, numbers: Places) -> Places:
        """Return for each record its place in `PARTS`."""
        drawn: Places = self.of(int(numbers[0]), int(numbers[-1] - numbers[0]) + 1)[numbers - numbers[0]]
        return drawn

    def to_json(self) -> dict[str, Any]:
        return {"seed": self.seed, "test": self.test, "validation": self.validation}


@dataclass(frozen=True)
class TimeParts:
    """The last records in time are for the test, those before them for validation.

    Attributes
    ----------
    edges
        The moments from which on records are for validation, and for the test.
    """

    rule: SplitRule
    edges: tuple[float, float]
    said: str
    free: bool = False

    def places(self, table: Table, numbers: Places) -> Places:
        """Return for each record its place in `PARTS`."""
        places: Places = np.searchsorted(np.array(self.edges), self.rule.moments(table), side="right")
        return places

    def to_json(self) -> dict[str, Any]:
        return {"rule": str(self.rule), "edges": [edge.hex() for edge in self.edges], "said": self.said}


@dataclass(frozen=True)
class GroupParts:
    """All records of a group are of one part, drawn by the group's name."""

    rule: SplitRule
    seed: int
    test: float
    validation: float
    free: bool = False

    @property
    def said(self) -> str:
        return f"rows, of groups by {self.rule.column!r} that are in no other part"

    def places(self, table: Table, numbers: Places) -> Places:
        """Return for each record its place in `PARTS`."""
        codes, labels = self.rule.groups(table)
        return _places(np.array([_drawn(self.seed, label) for label in labels])[codes], self.test, self.validation)

    def to_json(self) -> dict[str, Any]:
        return {"rule": str(self.rule), "seed": self.seed, "test": self.test, "validation": self.validation}


def rule_of_json(told: dict[str, Any]) -> PartRule:
    """Return the rule that has told of itself."""
    if "rule" not in told:
        return RandomParts(**told)
    rule = SplitRule.of(told["rule"])
    if rule.kind == "group":
        return GroupParts(**{**told, "rule": rule})
    validation, test = map(float.fromhex, told["edges"])
    return TimeParts(rule, (validation, test), told["said"])


def part_rule(settings: TabularSettings, parts: TableParts, *, most: int) -> PartRule:
    """Return the rule that the settings ask for; one of times goes through the table, and keeps so many of them.

    Raises
    ------
    InputError
        If the column of the split is not there or does not fit.
    """
    validation = defaults.VALIDATION if settings.validation is None else settings.validation
    if settings.split.kind == "random":
        return RandomParts(settings.seed, settings.test, validation)
    first = next(parts.numbered())[0]
    rule = settings.split.resolved(first)
    if rule.kind == "group":
        return GroupParts(rule, settings.seed, settings.test, validation)
    moments = _sampled_moments(rule, parts, settings.seed, most)
    test = latest_from(moments, settings.test, "the test") if settings.test else np.inf
    earlier = moments[moments < test]
    held_out = latest_from(earlier, validation, "validation") if validation else test
    assert rule.column is not None
    said = "" if test == np.inf else moment_text(first, rule.column, test)
    return TimeParts(rule, (min(held_out, test), test), f"rows, the last ones by {rule.column!r}, from {said} on")


def _sampled_moments(rule: SplitRule, parts: TableParts, seed: int, most: int) -> npt.NDArray[np.float64]:
    sample: Sample[npt.NDArray[np.float64]] = Sample(most, generator(seed, "moments"), lambda part, rows: part[rows])
    with RecordCount("ordering", parts.progress) as bar:
        for table, _ in parts.numbered():
            sample.add(rule.moments(table), len(table))
            bar.update(len(table))
    return np.concatenate(sample.parts())


def _places(drawn: npt.NDArray[np.float64], test: float, validation: float) -> Places:
    edge = test + (1 - test) * validation
    return np.where(drawn < test, TEST, np.where(drawn < edge, VALIDATION, TRAIN))


def _drawn(seed: int, label: str) -> float:
    """Return a number from 0 to 1 that belongs to a group in every part of every table."""
    digest = hashlib.blake2b(f"{seed}:{label}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") / 2**64
