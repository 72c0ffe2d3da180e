"""Interleaving: participants take turns until the median of each is known as well as you asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from gdkernels.bench.sampling.statistics import LEAST_SAMPLES, spread

__all__ = ["SETTLE_SECONDS", "SamplingLimit", "interleave", "settle"]

Key = TypeVar("Key", bound=Hashable)

# The threads of a library spin after their work, on the cores that the next one needs: `settle` waits for them so long.
SETTLE_SECONDS = 1.0

_SLICE = 0.02  # of that: several ticks of the clock that counts the work of a process


@dataclass(frozen=True)
class SamplingLimit:
    """Sampling ends when half the 95 % interval of each median is at most `share` of it, or after `seconds`."""

    share: float = 0.02
    seconds: float = 10.0


def settle() -> None:
    """Rest until the threads of this process have gone to sleep."""
    end = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < end:
        worked = time.process_time()
        time.sleep(_SLICE)
        if time.process_time() - worked < 0.1 * _SLICE:
            break


def interleave(
    timers: Mapping[Key, Callable[[], float]],
    limit: SamplingLimit,
    *,
    library: Callable[[Key], object] = lambda key: None,
    clock: Callable[[], float] = time.monotonic,
) -> dict[Key, list[float]]:
    """Take a sample of each in turn, again and again, every second round in the opposite order.

    Rounds are whole: all are measured in the same minutes and equally often. No round begins, after the first, that
    would not end in time.

    Parameters
    ----------
    timers
        Each does its work once and returns the seconds that it took.
    library
        Whose threads do it. Where the next timer belongs to another library, this process rests before it.
    """
    end = clock() + limit.seconds
    taken: dict[Key, list[float]] = {key: [] for key in timers}
    turn, rounds, longest = list(timers), 0, 0.0
    last = None
    while turn:
        began = clock()
        for key in turn:
            if library(key) != last:
                settle()
                last = library(key)
            taken[key].append(timers[key]())
        turn.reverse()
        rounds += 1
        longest = max(longest, clock() - began)
        known = rounds >= LEAST_SAMPLES and all(spread(samples) <= limit.share for samples in taken.values())
        if known or clock() + longest > end:
            break
    return taken
