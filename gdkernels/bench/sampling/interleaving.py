"""Sampling: what is compared takes turns, until the median of each is known as well as was asked for."""

import statistics
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from math import comb, inf
from typing import TypeVar

import numpy as np
import numpy.typing as npt

__all__ = [
    "LEAST_PROCESSES",
    "LEAST_SAMPLES",
    "SETTLE_SECONDS",
    "Width",
    "interleave",
    "interval",
    "lower_quartile",
    "redrawn",
    "seconds_per_call",
    "settle",
    "spread",
]

Key = TypeVar("Key", bound=Hashable)

# Threads of a library spin after their work, on the cores of whoever comes next: at most so long is waited for them.
SETTLE_SECONDS = 1.0

_SLICE = 0.02  # of that, several ticks of the clock by which a process's work is counted

LEAST_SAMPLES = 6  # of fewer, not even the smallest and the largest enclose the median with 95 %
LEAST_PROCESSES = 5  # that are redrawn

_REDRAWN = 10_000


@dataclass(frozen=True)
class Width:
    """When sampling ends: half the 95 % interval of each median is at most `share` of it, or `seconds` are over."""

    share: float = 0.02
    seconds: float = 10.0


def interval(samples: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of the median, from order statistics alone: no distribution is assumed.

    The k-th smallest and the k-th largest of n samples miss the median with the probability 2·P(Bin(n, ½) < k).
    With fewer than `LEAST_SAMPLES` samples it is infinite.
    """
    n, k, tail = len(samples), 0, 1.0
    while 2 * tail <= 0.05 * 2**n:
        k += 1
        tail += comb(n, k)
    if k == 0:
        return -inf, inf
    ordered = sorted(samples)
    return ordered[k - 1], ordered[n - k]


def spread(samples: Sequence[float]) -> float:
    """Return half the 95 % interval of the median, as a share of the median."""
    low, high = interval(samples)
    return 0.5 * (high - low) / statistics.median(samples)


def lower_quartile(times: Sequence[float] | npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the lower quartile along the last axis: what it takes where others disturb up to three quarters."""
    found: npt.NDArray[np.float64] = np.quantile(np.asarray(times), 0.25, axis=-1)
    return found


def redrawn(times: Sequence[float], random: np.random.Generator) -> npt.NDArray[np.float64]:
    """Return the lower quartiles of 10,000 bootstrap samples of the times of processes."""
    return lower_quartile(np.asarray(times)[random.integers(0, len(times), (_REDRAWN, len(times)))])


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
    width: Width,
    *,
    library: Callable[[Key], object] = lambda key: None,
    clock: Callable[[], float] = time.monotonic,
) -> dict[Key, list[float]]:
    """Take a sample of each in turn, again and again, every second round in the opposite order.

    Rounds are whole, so that all have been measured in the same minutes and equally often. A round that would not end
    before the time is over is not begun, but for the first.

    Parameters
    ----------
    timers
        Each does its work once and returns the seconds that it took.
    library
        Whose threads do it, in this process: it rests before it is the turn of others.
    """
    end = clock() + width.seconds
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
        known = rounds >= LEAST_SAMPLES and all(spread(samples) <= width.share for samples in taken.values())
        if known or clock() + longest > end:
            break
    return taken


def seconds_per_call(call: Callable[[], object], seconds: float) -> tuple[float, int]:
    """Call until `seconds` are over, at least once, and return the seconds of a call and the number of calls.

    One call goes before, off the clock: another has just had the caches.
    """
    call()
    calls, began = 0, time.perf_counter()
    while True:
        call()
        calls += 1
        taken = time.perf_counter() - began
        if taken >= seconds:
            return taken / calls, calls
