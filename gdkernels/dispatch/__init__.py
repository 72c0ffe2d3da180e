"""The choice of a backend, a device and a plan for a workload: finding plug-ins, estimating, choosing, explaining.

Code here decides where a workload runs, estimates its time and memory, and lets jobs share executables.
The computation itself belongs to `gdkernels.definition` and `gdkernels.backend`.
"""
