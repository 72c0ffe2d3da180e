"""``--explain``: the estimated time of every candidate, and why one of them is chosen."""

from __future__ import annotations

from typing import Any

from gdkernels.backend import Plan
from gdkernels.dispatch import choosing, registry
from gdkernels.dispatch.estimates import Estimate, estimates, fastest, in_words, not_worth
from gdkernels.dispatch.workload import Workload

__all__ = ["Explanation"]


class Explanation:
    """Explains why a job runs where it does, without measuring anything.

    Parameters
    ----------
    backend, device, precision
        As asked for.
    work
        The job.

    Raises
    ------
    BackendError, InputError
        As `gdkernels.dispatch.choosing.decide`.
    """

    def __init__(self, backend: str, device: str | None, precision: str, work: Workload) -> None:
        self._work = work
        self._choice, _ = choosing.decide(backend, device, precision, work)
        plan = Plan(*self._place, precision)
        self._why = self._choice.backend.why(work.program, plan, work.sizes)
        known = estimates([(self._choice.backend, self._choice.device)], precision, work, registry.versions())
        self._estimates = self._choice.estimates or tuple(known)  # a place that you named was chosen without them
        here = [e for e in self._estimates if (e.candidate.backend, e.candidate.device) == self._place]
        self._best = fastest(here) or next(iter(here), None)

    @property
    def _place(self) -> tuple[str, str]:
        return self._choice.backend.name, self._choice.device

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {
            "work": str(self._work),
            "backend": self._choice.backend.name,
            "device": self._choice.device,
            "reason": self._choice.reason,
            "why": self._why,
            "estimates": [{**e.as_dict(), "chosen": e is self._best} for e in self._estimates],
        }

    def as_text(self) -> str:
        """Return a line for each candidate in the order of priority, the chosen one marked, and the reason."""
        rows = [("" if e is not self._best else "→", str(e.candidate), *self._said(e)) for e in self._estimates]
        name, step = (max((len(row[k]) for row in rows), default=0) for k in (1, 2))
        lines = [f"{mark:1} {who:{name}}  {each:{step}}  {rest}" for mark, who, each, rest in rows]
        chosen = f"{' on '.join(self._place)}: {self._choice.reason}"
        within = [f"on {self._choice.device}, {self._why}"] if self._why else []
        return "\n".join([f"estimates for {self._work}", *lines, f"chosen: {chosen}", *within])

    def _said(self, estimate: Estimate) -> tuple[str, str]:
        if estimate.seconds is None or estimate.step_seconds is None:
            return "?", estimate.source
        words = [f"{in_words(estimate.seconds)} in all", estimate.source, self._passed_over(estimate)]
        return f"{in_words(estimate.step_seconds)} a step", ", ".join(filter(None, words))

    def _passed_over(self, estimate: Estimate) -> str:
        best, candidate = self._best, estimate.candidate
        if best is None or (candidate.backend, candidate.device) != self._place:
            return ""
        more = (candidate.threads or 0) > (best.candidate.threads or 0)
        return not_worth(estimate, best) if more else ""
