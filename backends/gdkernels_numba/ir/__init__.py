"""Writing LLVM IR: functions with loops and variables, vectors, and the mathematical functions on them.

Code here knows registers and instructions; what a kernel computes belongs to `gdkernels_numba.kernels`.
"""
