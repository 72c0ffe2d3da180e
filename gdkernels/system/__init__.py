"""The machine and the process: hashing, atomic files, the cache folder, memory, progress bars, notebooks, profiling.

What belongs here knows nothing of networks, tables or backends, and could serve any other program.
What concerns an array on a device belongs to `gdkernels.backend`.
"""
