"""Streams of random numbers: NumPy draws everything random here, on the host, from a named stream.

The name of a stream is a seed, a purpose and, for what repeats, an epoch. Every backend therefore starts from the same
bits and sees the same batches. The rooms that draw weights, splits and orders decide what they draw.
"""

from gdkernels.randomness.generators import checked_seed, generator

__all__ = ["checked_seed", "generator"]
