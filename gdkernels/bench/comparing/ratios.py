"""Participants against each other: ratios, and where the lead changes."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from gdkernels.bench.participants.networks import CHAIN
from gdkernels.bench.participants.participant import Participant
from gdkernels.bench.results.model import BenchRow
from gdkernels.bench.sampling.statistics import interval

__all__ = ["Crossover", "Ratio", "RatioSummary", "crossovers", "ratios", "summarised"]


@dataclass(frozen=True)
class Ratio:
    """The time of a row over that of `base`, with the 95 % interval of the median."""

    row: BenchRow
    base: Participant
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Crossover:
    """From about `flops` a batch on, `after` is ahead of `before`, which led until there."""

    flops: float
    before: Participant
    after: Participant


@dataclass(frozen=True)
class RatioSummary:
    """Several ratios: their geometric mean, and the worst with its place."""

    mean: float
    worst: float
    where: str


def summarised(found: Mapping[str, float]) -> RatioSummary:
    """Return the geometric mean of ratios by their names, and the smallest."""
    where = min(found, key=lambda name: (found[name], name))
    return RatioSummary(math.exp(statistics.fmean(map(math.log, found.values()))), found[where], where)


def ratios(rows: Sequence[BenchRow]) -> list[Ratio]:
    """Return the ratios of `rows`, of one stage, to the first participant of gdkernels, round by round.

    A drift of the machine is in both samples of a round, and not in their ratio.
    """
    base = next((r.participant for r in rows if not r.participant.external), None)
    if base is None:
        return []
    bases = {r.case: r for r in rows if r.participant == base}
    found = []
    for row in rows:
        if row.participant == base or row.case not in bases:
            continue
        pairs = zip(row.repeats, bases[row.case].repeats, strict=False)
        each = [a / b for mine, its in pairs for a, b in zip(mine.seconds, its.seconds, strict=False)]
        low, high = interval(each)
        found.append(Ratio(row, base, statistics.median(each), low if low > 0 else min(each), min(high, max(each))))
    return found


def crossovers(rows: Sequence[BenchRow]) -> list[Crossover]:
    """Return where the fastest of `rows`, of one stage, is another than at the next smaller work in a batch.

    Only chains of dense layers count, because other networks are fast or slow for more than their size. Sizes at which
    the intervals of the first two overlap count for nobody. The place is where straight lines between the two on
    logarithmic scales meet.
    """
    by_work: dict[float, dict[Participant, BenchRow]] = {}
    for row in (row for row in rows if row.case.network == CHAIN):
        by_work.setdefault(row.flops * min(row.case.batch, row.records) / row.records, {})[row.participant] = row
    led = [(work, leader) for work in sorted(by_work) if (leader := _leader(list(by_work[work].values()))) is not None]
    found = []
    for (small, first), (large, then) in pairwise(led):
        there = [by_work[work] for work in (small, large)]
        if first == then or not all({first, then} <= rates.keys() for rates in there):
            continue
        leads = [math.log(r[first].samples_per_second / r[then].samples_per_second) for r in there]
        share = leads[0] / (leads[0] - leads[1])
        found.append(Crossover(small * (large / small) ** share, first, then))
    return found


def _leader(rows: Sequence[BenchRow]) -> Participant | None:
    """Return the participant that is surely the fastest; None if that cannot be told, or if there is no other."""
    first, *others = sorted(rows, key=lambda row: row.seconds)
    if not others or any(other.interval[0] <= first.interval[1] for other in others):
        return None
    return first.participant
