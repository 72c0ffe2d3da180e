"""Checks that results can have been measured, which their types do not tell."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gdkernels.bench.results.model import BenchResults, BenchRow, ProcessSamples
from gdkernels.errors import InputError

__all__ = ["check_samples"]

_STATUSES = ("measured", "refused", "skipped")
_SHORTEST, _LONGEST = 1e-15, 1e12  # seconds of anything that was timed


def check_samples(results: BenchResults) -> None:
    """Raise `InputError` with the place of a figure that cannot have been measured."""
    versions = results.environment.get("versions", {})
    if not isinstance(versions, dict) or not all(isinstance(v, str) or v is None for v in versions.values()):
        raise InputError("environment.versions must be an object of texts")
    seen: dict[Any, int] = {}
    for k, row in enumerate(results.rows):
        if (first := seen.setdefault(row.key, k)) != k:  # either could hide what the other says
            raise InputError(f"rows[{k}] is rows[{first}] once more: {row.participant} at {row.case}, {row.stage}")
        for what in _wrong(row):
            raise InputError(f"rows[{k}]{what}")


def _wrong(row: BenchRow) -> Iterator[str]:
    if row.status not in _STATUSES:
        yield f".status must be one of {', '.join(_STATUSES)}"
    if (row.status == "measured") != bool(row.repeats):
        yield f".repeats has {len(row.repeats)} processes, but it is {row.status}"
    for k, repeat in enumerate(row.repeats):
        for what in _wrong_samples(repeat):
            yield f".repeats[{k}].{what}"


def _wrong_samples(repeat: ProcessSamples) -> Iterator[str]:
    if not repeat.seconds:
        yield "seconds is empty"
    for name, times in (("seconds", repeat.seconds), ("clock_seconds", repeat.clock_seconds),
                        ("product_seconds", repeat.product_seconds)):  # fmt: skip
        if not all(_SHORTEST <= s <= _LONGEST for s in times):
            yield f"{name} must be times above 0"
    counts = {len(repeat.seconds), len(repeat.host_seconds), len(repeat.calls)}
    clocks = {len(repeat.clock_seconds), len(repeat.product_seconds)}
    if not all(0 <= j <= _LONGEST for j in repeat.joules):
        yield "joules must be energies of at least 0"
    if len(repeat.joules) not in (0, len(repeat.seconds)):
        yield "joules must have as many samples as seconds"
    if len(counts) > 1 or len(clocks) > 1 or not clocks <= {0, *counts}:
        yield "seconds must have as many samples as all that was timed beside them"
