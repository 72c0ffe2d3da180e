"""The preferred place for a job: by estimates, by priority, and by the job's size where nobody measured a place.

A place of higher priority is there for a reason, so one without an estimate comes before those with one. A device of
its own, such as a GPU, is the exception: for small work it is slower than the host, however fast it is.
"""

from __future__ import annotations

from collections.abc import Sequence

from gdkernels.dispatch.estimates import Estimate, calibrating, fastest, in_words
from gdkernels.dispatch.workload import Workload

__all__ = ["BY_PRIORITY", "UNMEASURED_FLOPS", "preferred"]

BY_PRIORITY = "the best that can run here"

# FLOPs of a step from which on a device that nobody measured is taken. This is an estimate, not a measurement: a host
# takes at least about a millisecond for so many, and a GPU that still gets drivers less than half of that, with the
# tens of microseconds that it takes to start any step.
UNMEASURED_FLOPS = 1e9

_HOST = "cpu"


def preferred(found: Sequence[Estimate], work: Workload, precision: str) -> tuple[Estimate, str]:
    """Return the estimate of the place and the number of threads to take, and why.

    Parameters
    ----------
    found
        At least one, in the order of priority and of threads.
    """
    known = {e.candidate.backend for e in found if e.seconds is not None and e.candidate.device != _HOST}
    others = [e for e in found if e.seconds is not None or e.candidate.backend not in known]  # a sibling was measured
    unmeasured = [e for e in others if e.seconds is None and e.candidate.device != _HOST]
    small = bool(unmeasured) and work.step_flops < UNMEASURED_FLOPS
    left = [e for e in others if not (small and e in unmeasured)] or others
    first = left[0]
    if first.seconds is None:
        reason = BY_PRIORITY
        if first in unmeasured and any(e.candidate.device == _HOST for e in found):
            limit = _flops(UNMEASURED_FLOPS)
            reason += f": {_unmeasured(first, precision)} is taken from {limit} a step on, and {_size(work)}"
    else:
        best = fastest(left)
        assert best is not None
        first, reason = best, _compared(best, left)
    passed_over = [e for e in unmeasured if e not in left and found.index(e) < found.index(first)]
    if passed_over:
        named = _unmeasured(passed_over[0], precision)
        reason += f"; {named} is not taken below {_flops(UNMEASURED_FLOPS)} a step, and {_size(work)}"
    return first, reason


def _compared(best: Estimate, found: Sequence[Estimate]) -> str:
    reason = f"estimated at {in_words(best.step_seconds or 0.0)} a step {best.source}"
    others = [e for e in found if e.seconds is not None and e.candidate.backend != best.candidate.backend]
    if others:
        next_best = min(others, key=lambda e: e.seconds or 0.0)
        reason += f", {next_best.candidate.backend} at {in_words(next_best.step_seconds or 0.0)}"
    return reason


def _unmeasured(estimate: Estimate, precision: str) -> str:
    place = f"{estimate.candidate.backend} on {estimate.candidate.device}"
    return f"{place}, which is not measured (`{calibrating(precision)}` measures it),"


def _size(work: Workload) -> str:
    return f"one has {_flops(work.step_flops)}"


def _flops(count: float) -> str:
    for unit, size in (("TFLOP", 1e12), ("GFLOP", 1e9), ("MFLOP", 1e6), ("kFLOP", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f} FLOP"
