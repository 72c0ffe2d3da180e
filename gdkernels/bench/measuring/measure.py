"""A whole benchmark: first calls, ceilings, throughput in turns, and time to a target, within a time limit."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf
from typing import Any

import numpy as np

from gdkernels.bench.participants.participant import Contender
from gdkernels.bench.participants.costs import cost_of
from gdkernels.bench.comparing.cycles import undisturbed
from gdkernels.bench.measuring.first_calls import first_calls
from gdkernels.bench.measuring.goals import Goal, reach
from gdkernels.bench.participants.task import Task
from gdkernels.bench.processes.piped import ProcessError
from gdkernels.bench.checking import Prover
from gdkernels.bench.results.rows import Case, Ceiling, FirstCall, Repeat, Row, Target
from gdkernels.bench.sampling.interleaving import LEAST_PROCESSES, Width, interleave, lower_quartile, redrawn, settle
from gdkernels.bench.processes.client import Checked, Sample, Worker, workers_of

__all__ = ["SAMPLE_SECONDS", "Measured", "Work", "measure", "parts"]

SAMPLE_SECONDS = 0.05

# Half the 95 % interval of a row's lower quartile over its processes, as a share, down to which there are further ones:
# two such intervals, and a clock that differs by 2 %, leave room for a verdict within the 5 % of `gdkernels compare`.
_PROCESS_WIDTH = 0.01

# Matrices and arrays that leave every cache; a GPU needs larger ones to be busy.
_PRODUCT_SIZE = {"cpu": 1536, "gpu": 8192}
_COPY_BYTES = {"cpu": 1 << 28, "gpu": 1 << 30}

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Work:
    """What is measured.

    Attributes
    ----------
    cases
        With the task that does each.
    skipped
        Contenders that cannot take part, with the reason.
    repeats
        How often everything is measured, each time in new processes; from five on, what is compared with other files
        is measured in further ones, until the time over them is known or the limit is reached.
    seconds
        The time limit of all of it.
    share
        What half of the 95 % interval of a median may be of it.
    """

    cases: tuple[tuple[Case, Task], ...]
    pieces: tuple[str, ...]
    contenders: tuple[Contender, ...]
    skipped: tuple[tuple[Contender, str], ...] = ()
    repeats: int = 1
    seconds: float = 160.0
    share: float = 0.02
    goal: Goal | None = None


@dataclass
class Measured:
    """What was found so far."""

    rows: list[Row] = field(default_factory=list)
    ceilings: list[Ceiling] = field(default_factory=list)
    first_calls: list[FirstCall] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)


def measure(work: Work, progress: Progress) -> Measured:
    """Measure everything; `progress` is told of every part before it begins."""
    return _Measurement(work, progress).run()


def parts(work: Work) -> int:
    """Return how often `measure` tells of its progress."""
    groups = len(work.cases) * len(_groups(work)) * work.repeats
    return groups + len(work.contenders) * (1 + (work.goal is not None))


def _groups(work: Work) -> list[tuple[str, str]]:
    """Return each piece with each placement of its data that there is for any contender."""
    placements = ["resident", "transfers"] if any(c.device != "cpu" for c in work.contenders) else ["resident"]
    # Weights stay where they are trained: an update moves nothing.
    return [(p, place) for p in work.pieces for place in placements if not (p == "update" and place == "transfers")]


Todo = list[tuple[Case, Task, list[tuple[str, str]]]]


def _count(todo: Todo) -> int:
    return sum(len(groups) for _, _, groups in todo)


def _process_spread(row: Row) -> float:
    """Return half the 95 % interval of the lower quartile over the processes, as a share of it, as `compare` has it."""
    (times,) = undisturbed(row)
    if len(times) < LEAST_PROCESSES:
        return inf
    low, high = np.quantile(redrawn(times, np.random.default_rng(0)), (0.025, 0.975))
    return float(0.5 * (high - low) / lower_quartile(times))


class _Failure(Exception):  # noqa: N818 (carries who failed)
    def __init__(self, worker: Worker, reason: str) -> None:
        super().__init__(reason)
        self.worker = worker


class _Measurement:
    def __init__(self, work: Work, progress: Progress) -> None:
        self._work, self._progress = work, progress
        self._found = Measured()
        self._end = time.monotonic() + work.seconds
        self._rows: dict[Any, Row] = {}
        self._provers = {case: Prover(task) for case, task in work.cases}
        self._began, self._sampled, self._groups_done = 0.0, 0.0, 0
        self._every: Todo = [(case, task, _groups(work)) for case, task in work.cases]

    def run(self) -> Measured:
        work = self._work
        self._found.first_calls += first_calls(work.cases[0], work.contenders, self._left_of_a_third, self._progress)
        further = work.repeats >= LEAST_PROCESSES
        groups = work.repeats * _count(self._every)
        # Further processes have a third of the time, and targets come after all others: both want their share.
        later = bool(work.goal) + (groups // 2 if further else 0)
        for done in range(work.repeats):
            began = time.monotonic()
            groups -= _count(self._every)
            self._throughput(self._every, groups + later, with_ceilings=done == 0)
        if further:
            self._narrow((time.monotonic() - began) / _count(self._every))
        if work.goal is not None:
            self._found.targets += reach(work.goal, work.contenders, self._left, self._progress)
        skipped = [
            Row(case, piece, placement, contender, "skipped", reason)
            for contender, reason in self._work.skipped
            for case, _ in self._work.cases
            for piece, placement in _groups(self._work)
        ]
        self._found.rows = [*self._rows.values(), *skipped]
        return self._found

    def _left(self) -> float:
        return self._end - time.monotonic()

    def _left_of_a_third(self) -> float:
        """Return the seconds left for first calls: compiling may take minutes where others compute as well."""
        return self._left() - self._work.seconds * 2 / 3

    def _narrow(self, seconds: float) -> None:
        """Measure in further processes what is not known well over those that there were; a group takes `seconds`."""
        reserved = seconds * bool(self._work.goal)
        while wide := self._wide():
            more = int((self._left() - reserved) / seconds) - _count(wide)
            if more < 0:
                break
            began = time.monotonic()
            self._throughput(wide, more)
            seconds = max(seconds, (time.monotonic() - began) / _count(wide))

    def _wide(self) -> Todo:
        """Return the groups with a row whose time over the processes is not known well enough."""
        wide = {
            (r.case, r.piece, r.placement)
            for r in self._rows.values()
            if r.repeats and _process_spread(r) > _PROCESS_WIDTH
        }
        found = [(case, task, [g for g in groups if (case, *g) in wide]) for case, task, groups in self._every]
        return [(case, task, groups) for case, task, groups in found if groups]

    def _throughput(self, todo: Todo, later: int, *, with_ceilings: bool = False) -> None:
        """Measure groups once, in new processes; `later` ones want as much time."""
        left = _count(todo)
        with workers_of(self._work.contenders) as workers:
            for number, (case, task, groups) in enumerate(todo):
                ready = self._load(workers, case, task, groups)
                if number == 0 and with_ceilings:
                    self._measure_ceilings(ready)
                    self._began = time.monotonic()
                for piece, placement in groups:
                    self._progress(f"{case}: {piece}")
                    present = [w for w in ready if placement == "resident" or w.contender.device != "cpu"]
                    self._group(present, (case, task), (piece, placement), left + later)
                    left -= 1
            if with_ceilings:
                self._measure_ceilings(ready)  # once more: whatever took a core in the beginning may be gone

    def _load(
        self, workers: Sequence[Worker], case: Case, task: Task, groups: Sequence[tuple[str, str]]
    ) -> list[Worker]:
        ready = []
        for worker in workers:
            try:
                worker.load(replace(task, threads=worker.contender.threads))
                ready.append(worker)
            except ProcessError as reason:
                for piece, placement in groups:
                    self._drop(Row(case, piece, placement, worker.contender, "skipped", str(reason)))
        return ready

    def _measure_ceilings(self, workers: Sequence[Worker]) -> None:
        for worker in workers:
            kind = "cpu" if worker.contender.device == "cpu" else "gpu"
            for what, size in (("product", _PRODUCT_SIZE), ("layer", _PRODUCT_SIZE), ("copy", _COPY_BYTES)):
                try:
                    rate = worker.ceiling(what, size[kind])
                except ProcessError:
                    continue  # one ceiling less
                if rate:
                    self._found.ceilings.append(Ceiling(worker.contender, what, size[kind], rate))

    def _group(
        self, workers: Sequence[Worker], what: tuple[Case, Task], how: tuple[str, str], groups_left: int
    ) -> None:
        """Let contenders take turns at one piece of one case: checked, sampled, and checked again."""
        prover = self._provers[what[0]]
        checked: dict[Worker, tuple[Row, Checked]] = {}
        for worker in workers:
            row = self._row(what, how, worker.contender)
            if self._left() < 0:
                self._drop(replace(row, status="skipped", reason=f"the time limit of {self._work.seconds:g} s is over"))
                continue
            try:
                check = worker.check(prover, *how)
            except ProcessError as reason:
                self._drop(replace(row, status="skipped", reason=str(reason)))
                continue
            row = replace(row, origin=check.origin, plan=check.plan)
            if check.problem is None:
                checked[worker] = row, check
            else:
                self._drop(replace(row, status="refused", reason=check.problem))

        began = time.monotonic()
        samples = self._sample(checked, how, self._room(groups_left))
        self._sampled += time.monotonic() - began
        for worker, (row, before) in checked.items():
            try:
                after = worker.check(prover, *how, when_done=False)
            except ProcessError as reason:
                self._drop(replace(row, status="skipped", reason=str(reason)))
                continue
            if after.problem is not None:
                self._drop(replace(row, status="refused", reason=f"after it was timed, {after.problem}"))
                continue
            taken = samples[worker]
            self._keep(
                row,
                Repeat(
                    tuple(s.seconds for s in taken),
                    tuple(s.host_seconds for s in taken),
                    tuple(s.calls for s in taken),
                    before.proof,
                    after.proof,
                    tuple(s.clock_seconds for s in taken if s.clock_seconds is not None),
                    tuple(s.product_seconds for s in taken if s.product_seconds is not None),
                ),
            )

    def _room(self, groups_left: int) -> float:
        """Return the seconds for the sampling of a group, so that all that are left, with their checks, get as much."""
        outside = (time.monotonic() - self._began - self._sampled) / (self._groups_done + 0.5)
        self._groups_done += 1
        share = max(0.0, self._left()) / groups_left
        return max(share - outside, 0.25 * share)

    def _sample(
        self, checked: dict[Worker, tuple[Row, Checked]], how: tuple[str, str], seconds: float
    ) -> dict[Worker, list[Sample]]:
        """Return samples taken in turns; whoever fails is taken out of `checked`, and the others begin anew."""
        while True:
            samples: dict[Worker, list[Sample]] = {worker: [] for worker in checked}

            def take(worker: Worker, samples: dict[Worker, list[Sample]] = samples) -> float:
                try:
                    sample = worker.sample(*how, SAMPLE_SECONDS)
                except ProcessError as reason:
                    raise _Failure(worker, str(reason)) from reason
                samples[worker].append(sample)
                return sample.seconds

            try:
                width = Width(self._work.share, seconds)
                settle()  # what is compared with was computed here
                interleave({w: partial(take, w) for w in checked}, width)
                return samples
            except _Failure as failure:
                row, _ = checked.pop(failure.worker)
                self._drop(replace(row, status="skipped", reason=f"it failed while it was timed: {failure}"))

    def _row(self, what: tuple[Case, Task], how: tuple[str, str], contender: Contender) -> Row:
        case, task = what
        cost = cost_of(task, how[0], contender.precision)
        records = task.records if how[0] == "epoch" else min(task.batch, task.records)
        return Row(case, *how, contender, "measured", records=records, flops=cost.flops, bytes_least=cost.bytes_least)

    def _keep(self, row: Row, repeat: Repeat) -> None:
        known = self._rows.setdefault(row.key, row)
        if known.status == "measured":
            self._rows[row.key] = replace(known, repeats=(*known.repeats, repeat))

    def _drop(self, row: Row) -> None:
        """Keep why there are no times; a row that one process refuses is refused."""
        known = self._rows.get(row.key)
        if known is None or row.status == "refused" or not known.repeats:
            self._rows[row.key] = replace(row, repeats=())
