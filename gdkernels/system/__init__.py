"""The machine and the process: hashing, atomic files, the cache folder, memory, progress bars, notebooks, profiling.

Code here knows nothing of networks, tables or backends, and could serve any other program.
Arrays on a device belong to `gdkernels.backend`.
"""
