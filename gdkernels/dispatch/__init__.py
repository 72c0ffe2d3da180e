"""Which backend, device and plan run a workload: finding plug-ins, estimating times, choosing, explaining, binding.

What belongs here decides where something is computed and what it takes in time and memory.
What is computed belongs to `gdkernels.definition`, and how to `gdkernels.backend`.
"""
