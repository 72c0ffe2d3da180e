"""Random numbers, each named by what it is for, so that every backend begins with the same bits and sees the same.

NumPy draws on the host, from a stream, what is drawn once or once an epoch: weights, splits, orders. What blocks draw
in each step is a hash of where it is used, in whatever namespace runs the step. The rooms that draw decide what.
"""

from gdkernels.randomness.counter_based import RandomNumbers, row_keys
from gdkernels.randomness.generators import checked_seed, generator

__all__ = ["RandomNumbers", "checked_seed", "generator", "row_keys"]
