"""The writer of instruction streams: streams for each piece, with the addresses of everything it touches.

Code here turns a schedule, sizes and a plan into instructions and memory; `gdkernels_numba.vm` reads them.
"""
