"""The choice of epilogues that gain on a device: a step is timed with and without each, once per shape, and kept.

What is chosen is part of the plan. It is also kept in the user's cache folder, so that the next process neither times
again nor, where two choices are equally fast, chooses otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from gdkernels.system.kept import keep, kept

__all__ = ["chosen", "remember", "remembered"]

_FASTER = 0.97  # of the time with an epilogue: in doubt it stays, so that noise decides nothing


def chosen(epilogues: tuple[str, ...], seconds: Callable[[tuple[str, ...]], float | None]) -> tuple[str, ...]:
    """Return `epilogues` less those without which a step is faster.

    Parameters
    ----------
    seconds
        Returns the time of a step with some of them; None if that is the same step, or one that the device cannot do.
    """
    best = seconds(epilogues)
    for kind in reversed(epilogues):  # a slope before its function, without which there is no slope
        fewer = tuple(e for e in epilogues if e != kind)
        found = None if best is None else seconds(fewer)
        if best is not None and found is not None and found < _FASTER * best:
            epilogues, best = fewer, found
    return epilogues


def remembered(step: str, trusted: Iterable[str]) -> tuple[str, ...] | None:
    """Return what was chosen for a step before, or None; `step` says all that the choice depends on."""
    found = kept("epilogues", step)
    known = isinstance(found, list) and set(map(str, found)) <= set(trusted)
    return tuple(found) if known else None


def remember(step: str, epilogues: tuple[str, ...]) -> None:
    """Keep what was chosen for a step; where nothing can be kept, it is chosen anew next time."""
    keep("epilogues", step, epilogues)
