"""The results of `benchmarks.peers_grid`: whole trainings side by side, their ratios, and the file that holds them."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.checkout import write_json
from gdkernels.bench.participants.task import TrainingTask
from gdkernels.errors import FileError
from gdkernels.system.atomic_files import check_destination

__all__ = ["GridFile", "GridResult", "GridRow", "is_bfloat16"]


@dataclass(frozen=True)
class GridRow:
    """One participant on one task.

    Attributes
    ----------
    samples
        The records per second of each round.
    error
        The largest relative error of the first steps, against the definition in float64.
    first_seconds
        The seconds of compiling and of the first steps.
    skipped
        Why the participant cannot do the task, if so.
    """

    participant: str
    samples: tuple[float, ...] = ()
    error: float | None = None
    first_seconds: float | None = None
    skipped: str | None = None

    @property
    def rate(self) -> float:
        """The median records per second."""
        return statistics.median(self.samples) if self.samples else math.nan

    @property
    def spread(self) -> float:
        """Half the interquartile range over the median."""
        if len(self.samples) < 2:
            return math.inf
        low, _, high = statistics.quantiles(self.samples, n=4)
        return 0.5 * (high - low) / self.rate

    def as_dict(self) -> dict[str, Any]:
        """Return the row as it stands in a file, where a participant is a "peer"."""
        return {
            "peer": self.participant,
            "samples": list(self.samples),
            "error": self.error,
            "first_seconds": self.first_seconds,
            "skipped": self.skipped,
        }

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> GridRow:
        others = {name: value for name, value in row.items() if name not in ("peer", "samples")}
        return cls(row["peer"], tuple(row["samples"]), **others)


@dataclass(frozen=True)
class GridResult:
    """One task with the rows of all participants.

    Attributes
    ----------
    limits
        The best that as many cores can do, by name.
    """

    task: TrainingTask
    limits: dict[str, float]
    rows: tuple[GridRow, ...]

    def row(self, participant: str) -> GridRow:
        return next(row for row in self.rows if row.participant == participant)

    def best_other(self, ours: str) -> GridRow | None:
        """Return the row of the fastest other library in the precision of `ours`, if there is any."""
        others = [
            row
            for row in self.rows
            if row.samples
            and not row.participant.startswith("gdkernels")
            and is_bfloat16(row.participant) == is_bfloat16(ours)
        ]
        return max(others, key=lambda row: row.rate, default=None)

    def ratio(self, ours: str) -> float | None:
        """Return the rate of `ours` over that of the best other, if both have one."""
        mine, other = self.row(ours).rate, self.best_other(ours)
        return None if other is None or math.isnan(mine) else mine / other.rate

    def as_dict(self) -> dict[str, Any]:
        return {"task": self.task.as_dict(), **self.limits, "rows": [row.as_dict() for row in self.rows]}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> GridResult:
        limits = {name: value for name, value in content.items() if name not in ("task", "rows")}
        return cls(TrainingTask.from_dict(content["task"]), limits, tuple(map(GridRow.from_dict, content["rows"])))


class GridFile:
    """The results of a command, written whole after each task if the command names a file.

    Parameters
    ----------
    head
        The command, the threads and the environment.
    resume
        Whether to go on with the results that the file has already.

    Raises
    ------
    FileError
        If the file cannot be written, or its results were measured by another command or elsewhere.
    """

    def __init__(self, path: Path | None, head: Mapping[str, Any], *, resume: bool) -> None:
        self._path, self._head = path, dict(head)
        self._done: list[GridResult] = []
        if path is None:
            return
        check_destination(path, overwrite=True)
        if resume and path.exists():
            content = json.loads(path.read_text(encoding="utf-8"))
            self._done = [GridResult.from_dict(result) for result in content.pop("results")]
            if content != self._head:
                differing = ", ".join(name for name, value in self._head.items() if content.get(name) != value)
                raise FileError(f"{path} has another {differing}; name another file, or leave out --resume")

    def of(self, task: TrainingTask) -> GridResult | None:
        """Return the result of a task that was measured already."""
        return next((result for result in self._done if result.task == task), None)

    def add(self, result: GridResult) -> None:
        self._done.append(result)
        if self._path is not None:
            write_json(self._path, {**self._head, "results": [done.as_dict() for done in self._done]})


def is_bfloat16(participant: str) -> bool:
    return participant.endswith("bf16")
