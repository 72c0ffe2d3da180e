"""Levenberg–Marquardt beside Adam, L-BFGS, SciPy's least_squares and torch-levenberg-marquardt, from the same weights.

`python -m benchmarks.least_squares` has each of them minimise the squared error of problems that are known well, one
after the other on one thread, and compares the errors that they reach over CPU time.
"""
