"""The rows of a benchmark while it runs: samples are added process by process, and a refusal takes them away."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gdkernels.bench.measuring.planning import StageGroup
from gdkernels.bench.participants.costs import cost_of
from gdkernels.bench.participants.participant import Participant
from gdkernels.bench.results.model import BenchRow, ProcessSamples

__all__ = ["RowKeeper", "new_row", "skipped_row"]


class RowKeeper:
    """All rows so far, by their keys."""

    def __init__(self) -> None:
        self._rows: dict[Any, BenchRow] = {}

    @property
    def rows(self) -> tuple[BenchRow, ...]:
        return tuple(self._rows.values())

    def add(self, row: BenchRow, samples: ProcessSamples) -> None:
        """Add the samples of a process, unless an earlier process refused the row."""
        known = self._rows.setdefault(row.key, row)
        if known.status == "measured":
            self._rows[row.key] = replace(known, repeats=(*known.repeats, samples))

    def skip(self, row: BenchRow, reason: object) -> None:
        """Keep why a process has no times, unless others have some, or have refused the row."""
        known = self._rows.get(row.key)
        if known is None or (known.status != "refused" and not known.repeats):
            self._rows[row.key] = replace(row, status="skipped", reason=str(reason), repeats=())

    def refuse(self, row: BenchRow, reason: str) -> None:
        """Keep the reason why the times of a row are worthless; one process decides for all."""
        self._rows[row.key] = replace(row, status="refused", reason=reason, repeats=())


def new_row(group: StageGroup, participant: Participant, busy: int) -> BenchRow:
    """Return a row without samples, with the cost of a call, beside so many busy processes."""
    case, task, placed = group.prepared.case, group.prepared.task, group.placed
    cost = cost_of(task, placed.stage, participant.precision)
    return BenchRow(
        case,
        placed.stage,
        placed.placement,
        participant,
        "measured",
        records=task.records if placed.stage == "epoch" else min(task.batch, task.records),
        flops=cost.flops,
        bytes_least=cost.bytes_least,
        busy=busy,
    )


def skipped_row(group: StageGroup, participant: Participant, busy: int, reason: str = "") -> BenchRow:
    """Return a row of a participant that could not begin, without the cost of a call."""
    placed = group.placed
    return BenchRow(group.prepared.case, placed.stage, placed.placement, participant, "skipped", reason, busy=busy)
