"""One adapter for each library: gdkernels, a loop in NumPy, PyTorch, JAX, scikit-learn and thinc.

Each trains as its library's own documentation has it, on the same weights, data and rates. An adapter imports its
library when it is asked to: nothing is needed but what takes part.
"""
