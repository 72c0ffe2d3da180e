"""Generators of everything random, on the host, each for a stream named by (seed, purpose, epoch).

Every backend therefore starts from the same bits and sees the same batches.
"""

from __future__ import annotations  # np.random.Generator, as an annotation, would load numpy.random

from collections.abc import Iterator
from typing import Any
from zlib import crc32

import numpy as np

from gdkernels.errors import InputError, shown
from gdkernels.randomness.seeding import seeded_states

__all__ = ["checked_seed", "generator", "generators"]

_FEW = 12  # epochs whose generators are seeded sooner one by one


def generator(seed: int, purpose: str, epoch: int = 0) -> np.random.Generator:
    """Return the generator of one stream; the same arguments give the same numbers on every machine."""
    return np.random.default_rng([seed, crc32(purpose.encode()), epoch])


def generators(seed: int, purpose: str, epochs: range) -> Iterator[np.random.Generator]:
    """Yield what `generator` returns for each of some epochs; each until the next is asked for."""
    if len(epochs) < _FEW or epochs[-1] >> 32:
        yield from (generator(seed, purpose, epoch) for epoch in epochs)
        return
    bits: Any = np.random.PCG64(0)
    drawing = np.random.Generator(bits)
    for state in seeded_states((seed, crc32(purpose.encode())), epochs):
        bits.state = state
        yield drawing


def checked_seed(seed: int | None) -> int:
    """Return `seed`, or a fresh one for None, so that any run can be repeated.

    Raises
    ------
    InputError
        If it is not a whole number of at least 0.
    """
    if seed is None:
        return int(np.random.SeedSequence().generate_state(1)[0])
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise InputError(f"seed must be a whole number of at least 0 or None, got {shown(seed)}")
    return int(seed)
