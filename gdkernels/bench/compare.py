"""Two runs of a benchmark against each other: a verdict for each row, by a rule that is stated.

With at least five processes a side, the ratio is that of the medians over the processes of their median seconds, and
its 95 % interval is that of 10,000 bootstrap samples of the processes, drawn from a fixed seed:

- SAME: the interval lies within 0.95 and 1.05;
- SLOWER, FASTER: the interval excludes 1, and the ratio is above 1.05, or below 0.95;
- UNDECIDED: anything else, and every row with fewer processes on a side.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gdkernels.bench.environment import same_machine
from gdkernels.bench.results import Results, Row
from gdkernels.bench.sampling import LEAST_PROCESSES, redrawn

__all__ = ["VERDICTS", "Comparison", "Verdict", "compare", "judge"]

VERDICTS = ("SLOWER", "FASTER", "UNDECIDED", "SAME")

_TOLERANCE = 0.05


@dataclass(frozen=True)
class Verdict:
    """What became of a row.

    Attributes
    ----------
    ratio, low, high
        Seconds of B over those of A, and the 95 % interval of it; None where there are not enough processes.
    """

    verdict: str
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Comparison:
    """Two result files, row by row.

    Attributes
    ----------
    machines
        How the machines differ: then times say nothing about the code.
    changes
        How versions and commits differ.
    rows
        Each row of A that B has too, with its verdict.
    missing
        Rows that only one of them has, in words.
    """

    machines: tuple[str, ...]
    changes: tuple[str, ...]
    rows: tuple[tuple[Row, Verdict], ...]
    missing: tuple[str, ...]

    @property
    def counts(self) -> dict[str, int]:
        """How many rows got each verdict."""
        counted = Counter(verdict.verdict for _, verdict in self.rows)
        return {name: counted[name] for name in VERDICTS}


def compare(a: Results, b: Results) -> Comparison:
    """Return the verdicts on B, measured against A."""
    ours, theirs = ({row.key: row for row in results.rows} for results in (a, b))
    rows = []
    for key, row in ours.items():
        if key not in theirs or (row.status == theirs[key].status == "skipped"):
            continue
        other = theirs[key]
        lacking = [f"{r.status} in {name}: {r.reason}" for name, r in (("A", row), ("B", other)) if not r.repeats]
        verdict = Verdict("UNDECIDED", reason="; ".join(lacking)) if lacking else judge(row.medians, other.medians)
        rows.append((row, verdict))
    missing = [
        f"only in {name}: {row.contender} at {row.case}, {row.piece}, {row.placement}"
        for name, have, lack in (("A", ours, theirs), ("B", theirs, ours))
        for key, row in have.items()
        if key not in lack
    ]
    return Comparison(
        tuple(same_machine(a.environment, b.environment)),
        tuple(_changes(a.environment, b.environment)),
        tuple(rows),
        tuple(missing),
    )


def judge(a: Sequence[float], b: Sequence[float]) -> Verdict:
    """Return the verdict on the median seconds of the processes of B, against those of A."""
    fewest = min(len(a), len(b))
    if fewest < LEAST_PROCESSES:
        return Verdict("UNDECIDED", reason=f"{fewest} of {LEAST_PROCESSES} process repeats (bench --repeats)")
    ratio = float(np.median(b) / np.median(a))
    random = np.random.default_rng(0)
    before, after = redrawn(a, random), redrawn(b, random)
    low, high = (float(q) for q in np.quantile(after / before, (0.025, 0.975)))
    if low >= 1 - _TOLERANCE and high <= 1 + _TOLERANCE:
        return Verdict("SAME", ratio, low, high)
    if low > 1 and ratio > 1 + _TOLERANCE:
        return Verdict("SLOWER", ratio, low, high)
    if high < 1 and ratio < 1 - _TOLERANCE:
        return Verdict("FASTER", ratio, low, high)
    return Verdict("UNDECIDED", ratio, low, high, "the interval is too wide: more repeats, or a quieter machine")


def _changes(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """Return how versions and commits differ."""
    versions = [e.get("versions", {}) | {"Python": e.get("python"), "commit": e.get("commit")} for e in (a, b)]
    names = dict.fromkeys([*versions[0], *versions[1]])
    return [
        f"{name}: {versions[0].get(name) or 'none'} in A, {versions[1].get(name) or 'none'} in B"
        for name in names
        if versions[0].get(name) != versions[1].get(name)
    ]
