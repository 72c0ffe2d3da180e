"""A probe of interference: the length of a shared machine's clock cycle, and whether another program has a core."""

from __future__ import annotations

import hashlib
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Barrier

import numpy as np

__all__ = ["InterferenceProbe", "ProbeReading"]

_TIMES = 9  # each; the median leaves out an interruption of one or two of them

_CHAINED = bytes(1 << 14)

# Few enough operations for any BLAS to stay on one thread, and in the first-level cache.
_WIDTH, _PRODUCTS = 48, 128


@dataclass(frozen=True)
class ProbeReading:
    """The seconds of two fixed computations.

    Attributes
    ----------
    clock_seconds
        SHA-256 over a MiB that is in the first-level cache. Each of its instructions waits for the one before, and none
        for memory: it takes a fixed number of clock cycles.
    product_seconds
        Small products of matrices on all cores at once, on the slowest core. They keep a core's arithmetic busy, and
        take more clock cycles where somebody else has a part of it.
    """

    clock_seconds: float
    product_seconds: float


class InterferenceProbe:
    """Probes as many cores of this process as the participant has threads."""

    def __init__(self, threads: int) -> None:
        self._cores = sorted(os.sched_getaffinity(0))[:threads] if hasattr(os, "sched_getaffinity") else []
        self._pool = ThreadPoolExecutor(threads)
        self._together = Barrier(threads)
        factor = np.random.default_rng(0).standard_normal((_WIDTH, _WIDTH)).astype(np.float32)
        self._factor, self._factors = factor, np.broadcast_to(factor, (_PRODUCTS, _WIDTH, _WIDTH))
        self._threads = range(threads)

    def read(self) -> ProbeReading:
        """Return the seconds that both take now."""
        return ProbeReading(_median_seconds(_chain), max(self._pool.map(self._products, self._threads)))

    def _products(self, thread: int) -> float:
        if self._cores:
            os.sched_setaffinity(0, self._cores[thread : thread + 1])
        out = np.empty(self._factors.shape, np.float32)
        self._together.wait()
        return _median_seconds(lambda: np.matmul(self._factors, self._factor, out=out))


def _chain() -> None:
    chain = hashlib.sha256(usedforsecurity=False)
    for _ in range((1 << 20) // len(_CHAINED)):
        chain.update(_CHAINED)


def _median_seconds(call: Callable[[], object]) -> float:
    taken = []
    for _ in range(_TIMES):
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)
