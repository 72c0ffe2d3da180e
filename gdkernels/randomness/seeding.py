"""The states of NumPy's generators for many epochs at once.

To seed a generator takes NumPy longer than to permute a few hundred records by it. Its algorithm is fixed (NEP 19): a
`SeedSequence` mixes 32-bit words into a pool and hashes the pool into the state of a PCG64. Here every step of that is
done for all epochs at the same time, in whole numbers that wrap around.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["seeded_states", "words_of"]

Words = npt.NDArray[np.uint32]

_POOL, _MASK, _STATE_WORDS = 4, (1 << 32) - 1, 8
_A, _TIMES_A = 0x43B0D7E5, 0x931E8875  # of the hash that fills the pool
_B, _TIMES_B = 0x8B51F9DD, 0x58F38DED  # of the one that empties it
_LEFT, _RIGHT = np.uint32(0xCA01F9DD), np.uint32(0x4973F715)
_SHIFT = np.uint32(16)
_PCG, _WRAP = 0x2360ED051FC65DA44385DF649FCCF645, (1 << 128) - 1


def words_of(number: int) -> list[int]:
    """Return a whole number as words of 32 bits, the lowest first."""
    found = [number & _MASK]
    while number := number >> 32:
        found.append(number & _MASK)
    return found


class _ChangingHash:
    """A hash whose constant changes with each use."""

    def __init__(self, constant: int, times: int) -> None:
        self._constant, self._times = constant, times

    def __call__(self, value: Words) -> Words:
        value = value ^ np.uint32(self._constant)
        self._constant = self._constant * self._times & _MASK
        value = value * np.uint32(self._constant)
        return value ^ value >> _SHIFT


def _mixed(x: Words, y: Words) -> Words:
    result: Words = _LEFT * x - _RIGHT * y
    return result ^ result >> _SHIFT


def seeded_states(before: Sequence[int], epochs: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Yield the state of the PCG64 that is seeded by the numbers `before`, and an epoch, for each epoch below 2³²."""
    fixed = [word for number in before for word in words_of(number)]
    last = np.asarray(epochs, np.uint32)
    entropy = [*(np.full_like(last, word) for word in fixed), last]
    entropy += [np.zeros_like(last)] * (_POOL - len(entropy))
    hashed = _ChangingHash(_A, _TIMES_A)
    pool = [hashed(word) for word in entropy[:_POOL]]
    for source in range(_POOL):
        for target in range(_POOL):
            if source != target:
                pool[target] = _mixed(pool[target], hashed(pool[source]))
    for word in entropy[_POOL:]:
        pool = [_mixed(value, hashed(word)) for value in pool]
    hashed = _ChangingHash(_B, _TIMES_B)
    found = np.stack([hashed(pool[k % _POOL]) for k in range(_STATE_WORDS)], axis=1)
    halves = np.ascontiguousarray(found, "<u4").view("<u8").tolist()
    for high, low, increment_high, increment_low in halves:
        increment = (increment_high << 64 | increment_low) << 1 & _WRAP | 1
        state = (increment + (high << 64 | low)) * _PCG + increment & _WRAP
        yield {
            "bit_generator": "PCG64",
            "state": {"state": state, "inc": increment},
            "has_uint32": 0,
            "uinteger": 0,
        }
