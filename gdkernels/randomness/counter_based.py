"""Counter-based random numbers: each is a hash of where it is used, so that every backend draws the same.

A number depends on the seed of the training, the number of the step, the place of the record in its batch, the block
that draws it and the unit that it is for. Nothing is kept from one number to the next. Tiles, threads, parts of a batch
and a training that is resumed therefore see the same numbers (Salmon et al. 2011, doi:10.1145/2063384.2063405).

The hash is `mixed`: 32 bits, in arithmetic of int32 that wraps, because some namespaces lack uint32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["RandomNumbers", "keys_of", "mixed", "row_keys"]

_FIRST = 0x1E3779B9  # what every key begins with, because the hash of 0 is 0


def mixed(a: Any) -> Any:
    """Return a hash of each of some int32 numbers: equal bits for equal numbers, and unlike ones for neighbours.

    It is C. Wellons' "lowbias32", a bijection (nullprogram.com/blog/2018/07/31). A shift to the right is masked, so
    that no bits of a sign come in.
    """
    a = (a ^ ((a >> 16) & 0xFFFF)) * 0x7FEB352D
    a = (a ^ ((a >> 15) & 0x1FFFF)) * (0x846CA68B - 2**32)
    return a ^ ((a >> 16) & 0xFFFF)


def keys_of(keys: npt.NDArray[np.int32], *numbers: int) -> npt.NDArray[np.int32]:
    """Return, for each of some keys, that of what it names together with these whole numbers of at least 0."""
    for number in numbers:
        left = number
        while True:
            keys = _with(keys, _int32(left))
            left >>= 32
            if not left:
                break
    return keys


def row_keys(seed: int, step: int, records: int, batch: int, first: int = 0) -> npt.NDArray[np.int32]:
    """Return the keys of the random numbers of some records, an int32 for each.

    Parameters
    ----------
    seed
        That of the training, at least 0.
    step
        How many steps were done before the first of these.
    records, batch
        How many records there are, and how many of them, one after the other, are a batch.
    first
        The place in its batch of the first record, where that is not the first of all.
    """
    key = keys_of(np.array([_FIRST], np.int32), seed)
    steps = step + np.arange(-(-records // batch))
    of_steps = _with(_with(key, _int32(steps)), _int32(steps >> 32))
    return _with(np.repeat(of_steps, batch)[:records], _int32(first + np.arange(records) % batch))


@dataclass(frozen=True)
class RandomNumbers:
    """What a block draws numbers from in training.

    Attributes
    ----------
    row_keys
        An int32 number for each record of the batch.
    block
        The number of the block that draws.
    """

    row_keys: Any
    block: int = 0

    def inside(self, number: int) -> RandomNumbers:
        """Return what one of the blocks in this one draws from."""
        return RandomNumbers(self.row_keys, int(_with(_int32(self.block), _int32(number + 1))[0]))

    def uniform(self, unit: Any, *, xp: Any) -> Any:
        """Return numbers from 0 to below 1 [records, units], multiples of 2⁻²⁴.

        Parameters
        ----------
        unit
            The numbers of the units, 0 to n − 1, a constant of the block.
        """
        key = mixed(self.row_keys ^ self.block)
        bits = mixed(key[:, None] ^ xp.astype(unit, xp.int32)[None, :])
        return xp.astype(bits & 0xFFFFFF, unit.dtype) * 2.0**-24


def _with(key: npt.NDArray[np.int32], number: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Return the key of what has this `key` so far, and a further number."""
    found: npt.NDArray[np.int32] = mixed(key ^ number)
    return found


def _int32(numbers: int | npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
    """Return the lower 32 bits of whole numbers; of a single one, an array of it, because arrays wrap in silence."""
    low = np.atleast_1d(numbers & 0xFFFFFFFF).astype(np.uint32)
    return low.view(np.int32)
