"""The choice of a backend, a device and a plan for a workload: finding plug-ins, estimating, choosing, explaining.

Code here decides where a workload runs, and estimates its time and memory.
The computation itself belongs to `gdkernels.definition` and `gdkernels.backend`.
"""
