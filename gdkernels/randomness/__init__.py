"""Streams of random numbers: everything random is drawn here, by NumPy on the host, from a named stream.

A stream is named by a seed, a purpose and, for what repeats, an epoch. Every backend therefore starts from the same
bits and sees the same batches. What is drawn (weights, splits, orders) is decided by the rooms that draw it.
"""

from gdkernels.randomness.generators import checked_seed, generator

__all__ = ["checked_seed", "generator"]
