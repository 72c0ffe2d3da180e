"""Generators of everything random, on the host, each for a stream named by (seed, purpose, epoch).

Every backend therefore starts from the same bits and sees the same batches.
"""

from __future__ import annotations  # np.random.Generator, as an annotation, would load numpy.random

from zlib import crc32

import numpy as np

from gdkernels.errors import InputError

__all__ = ["checked_seed", "generator"]


def generator(seed: int, purpose: str, epoch: int = 0) -> np.random.Generator:
    """Return the generator of one stream; the same arguments give the same numbers on every machine."""
    return np.random.default_rng([seed, crc32(purpose.encode()), epoch])


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
        raise InputError(f"seed must be a whole number of at least 0 or None, got {seed!r}")
    return int(seed)
