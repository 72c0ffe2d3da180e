"""Throughput: participants take turns at one stage of one case, checked before and after.

With busy processes, each takes another turn beside them after its quiet one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby, product

from gdkernels.bench.checking import Checker
from gdkernels.bench.measuring.ceilings import ceilings
from gdkernels.bench.measuring.planning import BenchPlan, PreparedCase, StageGroup
from gdkernels.bench.measuring.rows import RowKeeper, new_row, skipped_row
from gdkernels.bench.participants.participant import ParticipantError
from gdkernels.bench.participants.stages import PlacedStage
from gdkernels.bench.processes.busy import BusyProcesses
from gdkernels.bench.processes.client import CallSample, ParticipantProcess, StageCheck, processes_of
from gdkernels.bench.results.model import BenchRow, Ceiling, ProcessSamples
from gdkernels.bench.sampling.interleaving import SamplingLimit, interleave, settle

__all__ = ["SAMPLE_SECONDS", "Throughput", "TimeBudget"]

SAMPLE_SECONDS = 0.05

# Beside busy processes: several of the slices in which a system gives a core to one process after the other, and long
# enough for a library to notice.
_BUSY_SECONDS = 0.25


class TimeBudget:
    """The time limit of a benchmark, and the part of it that the next group of rows may use for its samples."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds
        self._began, self._sampled, self._groups_done = 0.0, 0.0, 0

    def left(self) -> float:
        return self._end - time.monotonic()

    def begin(self) -> None:
        """Count from now on what goes into checks, beside what goes into samples."""
        self._began = time.monotonic()

    def next_group(self, groups_left: int) -> float:
        """Return the seconds for the samples of a group, so that all that are left, with their checks, get as much."""
        outside = (time.monotonic() - self._began - self._sampled) / (self._groups_done + 0.5)
        self._groups_done += 1
        share = max(0.0, self.left()) / groups_left
        return max(share - outside, 0.25 * share)

    def sampled(self, seconds: float) -> None:
        self._sampled += seconds


@dataclass(frozen=True)
class _Begun:
    """The rows of a participant that are being measured, one for each load, and the check before their samples."""

    rows: tuple[BenchRow, ...]
    before: StageCheck


_Turn = tuple[ParticipantProcess, int]  # and how many processes keep cores busy in it


class _FailureError(Exception):
    def __init__(self, process: ParticipantProcess, reason: str) -> None:
        super().__init__(reason)
        self.process = process


class Throughput:
    """Measures groups of rows, each time in new processes.

    Attributes
    ----------
    rows
        Every row so far.
    ceilings
        The ceilings so far.
    """

    def __init__(self, plan: BenchPlan, budget: TimeBudget, progress: Callable[[str], None]) -> None:
        self._plan, self._budget, self._progress = plan, budget, progress
        self._checkers = {prepared: Checker(prepared.task) for prepared in plan.cases}
        self.rows = RowKeeper()
        self.ceilings: list[Ceiling] = []

    def measure(self, groups: Sequence[StageGroup], later: int, *, with_ceilings: bool = False) -> None:
        """Measure `groups` once, in new processes; `later` ones want as much time."""
        left = len(groups)
        with BusyProcesses(self._plan.busy) as busy, processes_of(self._plan.participants) as processes:
            ready: list[ParticipantProcess] = []
            for number, (prepared, mine) in enumerate(groupby(groups, lambda group: group.prepared)):
                members = list(mine)
                ready = self._load(processes, prepared, members)
                if number == 0 and with_ceilings:
                    self.ceilings += ceilings(ready)
                    self._budget.begin()
                for group in members:
                    self._progress(f"{prepared.case}: {group.placed.stage}")
                    resident = group.placed.placement == "resident"
                    present = [p for p in ready if resident or p.participant.device != "cpu"]
                    self._measure_group(present, group, busy, left + later)
                    left -= 1
            if with_ceilings:
                self.ceilings += ceilings(ready)  # once more: whatever took a core in the beginning may be gone

    def _load(
        self, processes: Iterable[ParticipantProcess], prepared: PreparedCase, groups: Iterable[StageGroup]
    ) -> list[ParticipantProcess]:
        ready = []
        for process in processes:
            try:
                process.load(replace(prepared.task, threads=process.participant.threads))
                ready.append(process)
            except ParticipantError as reason:
                for group, busy in product(groups, self._plan.loads):
                    self.rows.skip(skipped_row(group, process.participant, busy), reason)
        return ready

    def _measure_group(
        self, processes: Iterable[ParticipantProcess], group: StageGroup, busy: BusyProcesses, groups_left: int
    ) -> None:
        begun = self._check(processes, group)
        began = time.monotonic()
        samples = self._sample(begun, group.placed, busy, self._budget.next_group(groups_left))
        self._budget.sampled(time.monotonic() - began)
        self._check_again(begun, samples, group)

    def _check(self, processes: Iterable[ParticipantProcess], group: StageGroup) -> dict[ParticipantProcess, _Begun]:
        """Return the rows whose work is that of the definition; keep the reason of the others."""
        begun = {}
        for process in processes:
            rows = tuple(new_row(group, process.participant, busy) for busy in self._plan.loads)
            if self._budget.left() < 0:
                self._skip(rows, f"the time limit of {self._budget.seconds:g} s is over")
                continue
            try:
                check = process.check(self._checkers[group.prepared], group.placed)
            except ParticipantError as reason:
                self._skip(rows, reason)
                continue
            rows = tuple(replace(row, origin=check.origin, plan=check.plan) for row in rows)
            if check.problem is None:
                begun[process] = _Begun(rows, check)
            else:
                self._refuse(rows, check.problem)
        return begun

    def _skip(self, rows: Iterable[BenchRow], reason: object) -> None:
        for row in rows:
            self.rows.skip(row, reason)

    def _refuse(self, rows: Iterable[BenchRow], reason: str) -> None:
        for row in rows:
            self.rows.refuse(row, reason)

    def _sample(
        self, begun: dict[ParticipantProcess, _Begun], placed: PlacedStage, busy: BusyProcesses, seconds: float
    ) -> dict[_Turn, list[CallSample]]:
        """Return samples taken in turns; a process that fails is taken out of `begun`, and the others begin anew."""
        while True:
            samples: dict[_Turn, list[CallSample]] = {turn: [] for turn in product(begun, self._plan.loads)}

            def take(turn: _Turn, samples: dict[_Turn, list[CallSample]] = samples) -> float:
                process, load = turn
                with busy.spinning(len(samples[turn])) if load else nullcontext():
                    try:
                        sample = process.sample(placed, _BUSY_SECONDS if load else SAMPLE_SECONDS)
                    except ParticipantError as reason:
                        raise _FailureError(process, str(reason)) from reason
                samples[turn].append(sample)
                return sample.seconds

            try:
                settle()  # the check was computed in this process
                interleave({turn: partial(take, turn) for turn in samples}, SamplingLimit(self._plan.share, seconds))
                return samples
            except _FailureError as failure:
                self._skip(begun.pop(failure.process).rows, f"it failed while it was timed: {failure}")

    def _check_again(
        self,
        begun: Mapping[ParticipantProcess, _Begun],
        samples: Mapping[_Turn, Sequence[CallSample]],
        group: StageGroup,
    ) -> None:
        """Keep the samples of each row whose work still is that of the definition."""
        for process, one in begun.items():
            try:
                after = process.check(self._checkers[group.prepared], group.placed, when_done=False)
            except ParticipantError as reason:
                self._skip(one.rows, reason)
                continue
            if after.problem is not None:
                self._refuse(one.rows, f"after it was timed, {after.problem}")
                continue
            for row in one.rows:
                # Where a core is taken on purpose, the probe of interference says nothing.
                taken = _samples_of(samples[process, row.busy], one.before, after, probed=not row.busy)
                self.rows.add(row, taken)


def _samples_of(
    samples: Sequence[CallSample], before: StageCheck, after: StageCheck, *, probed: bool = True
) -> ProcessSamples:
    joules = tuple(s.joules for s in samples if s.joules is not None)
    return ProcessSamples(
        tuple(s.seconds for s in samples),
        tuple(s.host_seconds for s in samples),
        tuple(s.calls for s in samples),
        before.check,
        after.check,
        tuple(s.clock_seconds for s in samples if probed and s.clock_seconds is not None),
        tuple(s.product_seconds for s in samples if probed and s.product_seconds is not None),
        joules if len(joules) == len(samples) else (),
        next((s.no_energy for s in samples if s.no_energy is not None), None),
        tuple(s.exchange_seconds for s in samples if s.exchange_seconds is not None),
    )
