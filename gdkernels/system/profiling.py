"""Time and memory by phase, if you ask for a profile: of reading, compiling, training and the rest."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from gdkernels.system import memory
from gdkernels.system.memory import gigabytes

__all__ = ["Phase", "Profile", "phase", "profiled"]

_ELSE = "else"


@dataclass
class Phase:
    """The totals of a phase over all its runs.

    Attributes
    ----------
    seconds
        The time of the phase, without the phases within it.
    memory
        The bytes of the process when the phase last ended.
    peak
        The most bytes of the process until then.
    """

    seconds: float = 0.0
    memory: int = 0
    peak: int = 0


class Profile:
    """Phases by name, in the order in which they were begun; "else" is all that is in none."""

    def __init__(self) -> None:
        self.phases: dict[str, Phase] = {}
        self._open, self._peak = [_ELSE], 0
        self._since = time.perf_counter()

    def enter(self, name: str) -> None:
        """Begin a phase within the present one."""
        self._charge()
        self._open.append(name)
        self.phases.setdefault(name, Phase())

    def leave(self) -> None:
        """End the phase that was begun last."""
        self._charge()
        self._open.pop()

    def _charge(self) -> None:
        now = time.perf_counter()
        here = self.phases.setdefault(self._open[-1], Phase())
        here.seconds, self._since = here.seconds + now - self._since, now
        here.memory = memory.used()
        self._peak = max(self._peak, memory.peak(), here.memory)  # the system counts in steps, not both in the same
        here.peak = self._peak

    def as_dict(self) -> dict[str, dict[str, Any]]:
        """Return it as JSON can hold it, until now."""
        self._charge()
        return {name: dict(vars(each)) for name, each in self._ordered().items()}

    def as_text(self) -> str:
        """Return it as a table, until now."""
        self._charge()
        total = sum(each.seconds for each in self.phases.values())
        lines = [f"{'phase':<20}{'seconds':>9}{'share':>8}{'memory':>10}{'peak':>10}"]
        lines += [
            f"{name:<20}{each.seconds:>9.3f}{each.seconds / total:>8.1%}{gigabytes(each.memory):>10}"
            f"{gigabytes(each.peak):>10}"
            for name, each in self._ordered().items()
        ]
        return "\n".join(lines)

    def _ordered(self) -> dict[str, Phase]:
        return {name: each for name, each in self.phases.items() if name != _ELSE} | {_ELSE: self.phases[_ELSE]}


_profile: ContextVar[Profile | None] = ContextVar("gdkernels_profile", default=None)


@contextmanager
def profiled() -> Iterator[Profile]:
    """Within this context, in this thread, measure the phases."""
    made = Profile()
    token = _profile.set(made)
    try:
        yield made
    finally:
        _profile.reset(token)


@contextmanager
def phase(name: str) -> Iterator[None]:
    """Mark a phase; this costs next to nothing unless a profile is measured."""
    profile = _profile.get()
    if profile is None:
        yield
        return
    profile.enter(name)
    try:
        yield
    finally:
        profile.leave()
