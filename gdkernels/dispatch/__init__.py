"""Which backend, device and plan run a workload: finding plug-ins, estimating times, choosing, explaining, binding.

Code here decides where a workload runs, and estimates its time and memory.
The computation itself belongs to `gdkernels.definition` and `gdkernels.backend`.
"""
