"""A uniform sample of records that come part by part, however many there will be."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

__all__ = ["Sample"]

Part = TypeVar("Part")
Indices = npt.NDArray[np.int64]


class Sample(Generic[Part]):
    """Keeps at most so many records, each as likely as any other: those with the smallest of random keys.

    Parameters
    ----------
    most
        The number that is kept; all if there are no more.
    generator
        The generator of the keys.
    take
        Returns the records of a part with these numbers.
    """

    def __init__(self, most: int, generator: np.random.Generator, take: Callable[[Part, Indices], Part]) -> None:
        self._most, self._generator, self._take = most, generator, take
        self._below = math.inf
        self._kept: list[tuple[npt.NDArray[np.float64], Part]] = []

    def add(self, part: Part, count: int) -> None:
        """Add a part of so many records."""
        self._kept.append((self._generator.random(count), part))
        self._keep()
        if sum(len(keys) for keys, _ in self._kept) > 2 * self._most:
            self._reduce()

    def parts(self) -> list[Part]:
        """Return the sample, in the order in which its records came."""
        if sum(len(keys) for keys, _ in self._kept) > self._most:
            self._reduce()
        return [part for keys, part in self._kept if len(keys)]

    def _reduce(self) -> None:
        keys = np.concatenate([keys for keys, _ in self._kept])
        self._below = float(np.partition(keys, self._most)[self._most])
        self._keep()

    def _keep(self) -> None:
        for k, (keys, part) in enumerate(self._kept):
            rows = np.flatnonzero(keys < self._below)
            if len(rows) < len(keys):
                self._kept[k] = keys[rows], self._take(part, rows)
