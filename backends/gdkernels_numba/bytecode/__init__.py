"""What is written before a run: instruction streams for each thread, with the addresses of everything they touch.

What belongs here turns a schedule, sizes and a plan into instructions and memory; `gdkernels_numba.vm` reads them.
"""
