"""A whole benchmark: first calls, ceilings, throughput in turns, and time to a target, within a time limit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import inf

import numpy as np

from gdkernels.bench.comparing.cycles import undisturbed
from gdkernels.bench.environment import environment
from gdkernels.bench.measuring import throughput
from gdkernels.bench.measuring.first_calls import first_calls
from gdkernels.bench.measuring.goals import reach
from gdkernels.bench.measuring.planning import BenchPlan, StageGroup
from gdkernels.bench.measuring.rows import skipped_row
from gdkernels.bench.measuring.throughput import Throughput, TimeBudget
from gdkernels.bench.results.model import BenchResults, BenchRow, Ceiling, FirstCall, TargetTraining
from gdkernels.bench.sampling import interleaving
from gdkernels.bench.sampling.statistics import LEAST_PROCESSES, lower_quartile, redrawn

__all__ = ["Findings", "benchmark", "measure", "parts"]

# Half the 95 % interval of a row's lower quartile over its processes, as a share, down to which there are further ones:
# two such intervals, and a clock that differs by 2 %, leave room for a verdict within the 5 % of `gdkernels compare`.
_PROCESS_WIDTH = 0.01

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Findings:
    """Everything that a benchmark measured."""

    rows: tuple[BenchRow, ...]
    ceilings: tuple[Ceiling, ...]
    first_calls: tuple[FirstCall, ...]
    targets: tuple[TargetTraining, ...]


def benchmark(plan: BenchPlan, command: str, progress: Progress) -> BenchResults:
    """Measure everything, and return it with the command, the settings and the environment."""
    found_in = environment(sorted({p.threads for p in plan.participants}))
    began, date = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
    found = measure(plan, progress)
    return BenchResults(
        command=command,
        date=date,
        seconds=time.monotonic() - began,
        settings={
            "time_limit_seconds": plan.seconds,
            "width": plan.share,
            "repeats": plan.repeats,
            "busy": plan.busy,
            "sample_seconds": throughput.SAMPLE_SECONDS,
            "settle_seconds": interleaving.SETTLE_SECONDS,
            "loss": "sse",
            "gradient": "of E/B",
        },
        environment=found_in,
        **vars(found),
    )


def measure(plan: BenchPlan, progress: Progress) -> Findings:
    """Measure everything, and call `progress` with the name of every part before it begins."""
    return _Measurement(plan, progress).run()


def parts(plan: BenchPlan) -> int:
    """Return how often `measure` tells of its progress."""
    return len(plan.groups) * plan.repeats + len(plan.participants) * (1 + (plan.goal is not None))


class _Measurement:
    def __init__(self, plan: BenchPlan, progress: Progress) -> None:
        self._plan, self._progress = plan, progress
        self._budget = TimeBudget(plan.seconds)
        self._throughput = Throughput(plan, self._budget, progress)

    def run(self) -> Findings:
        plan, groups = self._plan, self._plan.groups
        calls = first_calls(plan.cases[0], plan.participants, self._left_of_a_third, self._progress)
        further = plan.repeats >= LEAST_PROCESSES
        to_do = plan.repeats * len(groups)
        # Further processes get a third of the time, and targets come last: both need their share.
        later = bool(plan.goal) + (to_do // 2 if further else 0)
        for done in range(plan.repeats):
            began = time.monotonic()
            to_do -= len(groups)
            self._throughput.measure(groups, to_do + later, with_ceilings=done == 0)
        if further:
            self._measure_further((time.monotonic() - began) / len(groups))
        targets: Sequence[TargetTraining] = ()
        if plan.goal is not None:
            targets = reach(plan.goal, plan.participants, self._budget.left, self._progress)
        skipped = (
            skipped_row(group, one.participant, busy, one.reason)
            for one in plan.left_out
            for group in groups
            for busy in plan.loads
        )
        return Findings(
            rows=(*self._throughput.rows.rows, *skipped),
            ceilings=tuple(self._throughput.ceilings),
            first_calls=tuple(calls),
            targets=tuple(targets),
        )

    def _left_of_a_third(self) -> float:
        """Return the seconds left for first calls: compiling may take minutes where others compute as well."""
        return self._budget.left() - self._plan.seconds * 2 / 3

    def _measure_further(self, seconds: float) -> None:
        """Measure rows that are not known well over the processes so far in further ones; a group takes `seconds`."""
        reserved = seconds * bool(self._plan.goal)
        while wide := self._wide(self._throughput.rows.rows):
            more = int((self._budget.left() - reserved) / seconds) - len(wide)
            if more < 0:
                break
            began = time.monotonic()
            self._throughput.measure(wide, more)
            seconds = max(seconds, (time.monotonic() - began) / len(wide))

    def _wide(self, rows: Iterable[BenchRow]) -> list[StageGroup]:
        """Return the groups with a row whose time over the processes is not known well enough."""
        wide = {(row.case, row.placed) for row in rows if _is_wide(row)}
        return [group for group in self._plan.groups if (group.prepared.case, group.placed) in wide]


def _is_wide(row: BenchRow) -> bool:
    """Return whether further processes are wanted. Beside busy ones, no row is ever known as well."""
    return bool(row.repeats) and not row.busy and _process_spread(row) > _PROCESS_WIDTH


def _process_spread(row: BenchRow) -> float:
    """Return half the 95 % interval of the lower quartile over the processes, as a share of it, as `compare` has it."""
    (times,) = undisturbed(row)
    if len(times) < LEAST_PROCESSES:
        return inf
    low, high = np.quantile(redrawn(times, np.random.default_rng(0)), (0.025, 0.975))
    return float(0.5 * (high - low) / lower_quartile(times))
