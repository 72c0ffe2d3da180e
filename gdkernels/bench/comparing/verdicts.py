"""Two runs of a benchmark against each other: a verdict for each row, by a stated rule.

With at least five processes a side, the time of a side is the lower quartile over its processes of the lower quartiles
of their samples: other work on the machine only adds to times, and may disturb up to three quarters of them. The
95 % interval of the ratio comes from 10,000 bootstrap samples of the processes, drawn from a fixed seed:

- SAME: the interval lies within 0.95 and 1.05;
- SLOWER, FASTER: the interval excludes 1, and the ratio is above 1.05, or below 0.95;
- UNDECIDED: anything else, and every row with fewer processes on a side.

On a CPU, times are counted in units of a fixed number of clock cycles that was timed beside each sample: the clock of a
core drifts by some per cent within seconds. Work that waits for memory does not follow the clock. The interval is
therefore widened by the ratio of the clocks, so that it holds in seconds too. The ratio that must be beyond 5 % is the
geometric mean of the two, and each of the two must be beyond 2 %. Samples are left out if another process used part
of a core meanwhile, as the products timed beside them show.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gdkernels.bench.comparing.cycles import has_clocks, undisturbed
from gdkernels.bench.environment import same_machine
from gdkernels.bench.results.model import BenchResults, BenchRow
from gdkernels.bench.sampling.statistics import LEAST_PROCESSES, lower_quartile, redrawn

__all__ = ["VERDICTS", "ComparedRow", "Comparison", "Verdict", "compare", "verdict_on"]

VERDICTS = ("SLOWER", "FASTER", "UNDECIDED", "SAME")

_TOLERANCE = 0.05
_NOISE = 0.02  # the share by which seconds differ from one run to another, whatever the clock
_ADVICE = "more repeats, or a quieter machine"


@dataclass(frozen=True)
class Verdict:
    """The verdict on a row.

    Attributes
    ----------
    ratio, low, high
        The time of B over that of A, and its 95 % interval; None where there are not enough processes.
    clock
        The length of a clock cycle in B over that in A; 1 where it is not known.
    """

    verdict: str
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    clock: float | None = None
    reason: str | None = None


@dataclass(frozen=True)
class ComparedRow:
    """A row of A that B has too, with the verdict on B's."""

    row: BenchRow
    verdict: Verdict


@dataclass(frozen=True)
class Comparison:
    """Two result files, row by row.

    Attributes
    ----------
    machines
        The differences between the machines; if there are any, times say nothing about the code.
    changes
        The differences between versions and commits.
    rows
        Each row of A that B has too, with its verdict.
    missing
        Rows that only one of them has, in words.
    unknown
        Why nobody can tell whether something became slower, in words, where that is not for noise alone: a row of A
        that is refused, missing or has fewer than five processes, or machines that differ.
    """

    machines: tuple[str, ...]
    changes: tuple[str, ...]
    rows: tuple[ComparedRow, ...]
    missing: tuple[str, ...]
    unknown: tuple[str, ...]

    @property
    def counts(self) -> dict[str, int]:
        """The number of rows with each verdict."""
        counted = Counter(compared.verdict.verdict for compared in self.rows)
        return {name: counted[name] for name in VERDICTS}


def compare(a: BenchResults, b: BenchResults) -> Comparison:
    """Return the verdicts on B, measured against A."""
    ours, theirs = ({row.key: row for row in results.rows} for results in (a, b))
    rows, unknown = [], []
    for key, row in ours.items():
        if (lack := _lack(row, theirs.get(key))) is not None:
            unknown.append(f"{_where(row)}: {lack}")
        if key not in theirs or (row.status == theirs[key].status == "skipped"):
            continue
        other = theirs[key]
        lacking = [f"{r.status} in {name}: {r.reason}" for name, r in (("A", row), ("B", other)) if not r.repeats]
        verdict = Verdict("UNDECIDED", reason="; ".join(lacking)) if lacking else _verdict_on_rows(row, other)
        rows.append(ComparedRow(row, verdict))
    if not any(compared.row.repeats and theirs[compared.row.key].repeats for compared in rows):
        unknown.append("no row was measured in both")
    machines = tuple(same_machine(a.environment, b.environment))
    missing = [
        f"only in {name}: {_where(row)}"
        for name, have, lack in (("A", ours, theirs), ("B", theirs, ours))
        for key, row in have.items()
        if key not in lack
    ]
    return Comparison(
        machines,
        tuple(_changes(a.environment, b.environment)),
        tuple(rows),
        tuple(missing),
        (*(f"the machines differ: {how}" for how in machines), *unknown),
    )


def _where(row: BenchRow) -> str:
    return f"{row.participant} at {row.case}, {row.stage}, {row.placement}{row.beside}"


def _lack(a: BenchRow, b: BenchRow | None) -> str | None:
    """Return why a row of A cannot be compared, however quiet the machine is; None if it can."""
    if "refused" in (a.status, b and b.status):
        return "refused in " + " and ".join(n for n, r in (("A", a), ("B", b)) if r and r.status == "refused")
    if a.status == "skipped":  # there is nothing that could have become slower
        return None
    if b is None or b.status == "skipped":
        return "missing in B" if b is None else f"skipped in B: {b.reason}"
    for name, row in (("A", a), ("B", b)):
        if len(row.repeats) < LEAST_PROCESSES:
            return f"{len(row.repeats)} of {LEAST_PROCESSES} process repeats in {name} (bench --repeats)"
    return None


def _verdict_on_rows(a: BenchRow, b: BenchRow) -> Verdict:
    return verdict_on(*undisturbed(a, b), clock=_clock(b) / _clock(a) if has_clocks(a, b) else 1.0)


def _clock(row: BenchRow) -> float:
    return statistics.median(c for r in row.repeats for c in r.clock_seconds)


def verdict_on(a: Sequence[float], b: Sequence[float], *, clock: float = 1.0) -> Verdict:
    """Return the verdict on the times of the processes of B, against those of A.

    Parameters
    ----------
    clock
        The length of the unit of B's times over that of A's.
    """
    fewest = min(len(a), len(b))
    if fewest < LEAST_PROCESSES:
        lacking = f"{fewest} of {LEAST_PROCESSES} process repeats on whole cores (bench --repeats)"
        return Verdict("UNDECIDED", reason=lacking)
    ratio = float(lower_quartile(b) / lower_quartile(a))
    random = np.random.default_rng(0)
    before, after = redrawn(a, random), redrawn(b, random)
    low, high = (float(q) for q in np.quantile(after / before, (0.025, 0.975)))
    found = _verdict(low, ratio, high, clock)
    reason = None
    if found == "UNDECIDED":
        clock_alone = _verdict(low, ratio, high, 1.0) != found
        reason = f"{'the clocks differ too much' if clock_alone else 'the interval is too wide'}: {_ADVICE}"
    return Verdict(found, ratio, low * min(1.0, clock), high * max(1.0, clock), clock, reason)


def _verdict(low: float, ratio: float, high: float, clock: float) -> str:
    """Return what holds with the ratio of the clocks and without."""
    least, most = min(1.0, clock), max(1.0, clock)
    if low * least >= 1 - _TOLERANCE and high * most <= 1 + _TOLERANCE:
        return "SAME"
    between = ratio * clock**0.5
    if low * least > 1 and ratio * least > 1 + _NOISE and between > 1 + _TOLERANCE:
        return "SLOWER"
    if high * most < 1 and ratio * most < 1 - _NOISE and between < 1 - _TOLERANCE:
        return "FASTER"
    return "UNDECIDED"


def _changes(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """Return how versions and commits differ."""
    versions = [e.get("versions", {}) | {"Python": e.get("python"), "commit": e.get("commit")} for e in (a, b)]
    names = dict.fromkeys([*versions[0], *versions[1]])
    return [
        f"{name}: {versions[0].get(name) or 'none'} in A, {versions[1].get(name) or 'none'} in B"
        for name in names
        if versions[0].get(name) != versions[1].get(name)
    ]
