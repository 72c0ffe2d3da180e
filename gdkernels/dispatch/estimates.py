"""The estimated time of a job for each candidate, by the prices that are known here."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import groupby
from typing import Any

from gdkernels.backend import Backend
from gdkernels.dispatch import calibration
from gdkernels.dispatch.calibration import Candidate
from gdkernels.dispatch.workload import Workload

__all__ = ["Estimate", "calibrating", "estimates", "fastest", "in_words", "not_worth", "plan_choices"]

_WORTH = 0.9  # more threads at the same place must take less than this share of the time

_log = logging.getLogger("gdkernels")


@dataclass(frozen=True)
class Estimate:
    """The estimated time of a candidate.

    Attributes
    ----------
    seconds
        The time of the whole job, with moving the data to the device; None if unknown.
    step_seconds
        The time of each step.
    source
        The source: "by the calibration of this machine", "by the shipped table", or why the time is unknown.
    """

    candidate: Candidate
    seconds: float | None
    step_seconds: float | None
    source: str

    def as_dict(self) -> dict[str, Any]:
        return {**vars(self.candidate), **{k: v for k, v in vars(self).items() if k != "candidate"}}


def estimates(
    places: Iterable[tuple[Backend, str]], precision: str, work: Workload, versions: Mapping[str, str]
) -> list[Estimate]:
    """Return an estimate for every candidate at these `places`, a backend and a device each, in their order."""
    prices, source = calibration.current(precision, versions)
    quantities = _quantities(work, precision)
    found: list[Estimate] = []
    for backend, device in places:
        here = [] if prices is None else [c for c in prices.prices if (c.backend, c.device) == (backend.name, device)]
        allowed = backend.threads(device) if any(c.threads for c in here) else ()
        here = sorted((c for c in here if c.threads is None or c.threads in allowed), key=lambda c: c.threads or 0)
        if prices is None or quantities is None or not here:
            command = calibrating(precision)
            why = "its functions cannot be recorded" if quantities is None else f"not measured (`{command}` does)"
            found.append(Estimate(Candidate(backend.name, device), None, None, f"{why}: by priority"))
            continue
        for candidate in here:
            seconds = prices.seconds(candidate, quantities)
            found.append(Estimate(candidate, seconds, seconds / work.steps, source))
    return found


def fastest(found: Sequence[Estimate]) -> Estimate | None:
    """Return the fastest of those that have an estimate; None if none has.

    `found` is in the order of priority and of threads. Equal places go by priority, and more threads are chosen only if
    they are worth it.
    """
    groups = groupby(found, lambda e: (e.candidate.backend, e.candidate.device))
    at_best = [reduce(lambda fewer, more: fewer if not_worth(more, fewer) else more, group) for _, group in groups]
    return min((e for e in at_best if e.seconds is not None), key=lambda e: e.seconds or 0.0, default=None)


def not_worth(more: Estimate, fewer: Estimate) -> str:
    """Return why more threads than `fewer` at the same place are not chosen; "" if they are."""
    if more.seconds is None or fewer.seconds is None or more.seconds < _WORTH * fewer.seconds:
        return ""
    return f"not worth it: more than {_WORTH:g} of the time"


def plan_choices(
    backend: Backend, device: str, precision: str, work: Workload, versions: Mapping[str, str]
) -> dict[str, Any]:
    """Return the choices for `work` that follow from a calibration: the number of threads, or none."""
    if len(backend.threads(device)) < 2:
        return {}
    best = fastest(estimates([(backend, device)], precision, work, versions))
    return {} if best is None or best.candidate.threads is None else {"threads": best.candidate.threads}


def calibrating(precision: str) -> str:
    """Return the command that measures the prices of a precision here."""
    return "gdkernels calibrate" + (f" --precision {precision}" if precision != "float32" else "")


def in_words(seconds: float) -> str:
    """Return a time in the unit in which it is best read."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"


def _quantities(work: Workload, precision: str) -> dict[str, float] | None:
    try:
        return work.quantities(precision)
    except Exception as error:  # a function of the user may raise anything during recording, and may still run
        _log.debug("there is no estimate, because the program cannot be recorded: %s", error)
        return None
