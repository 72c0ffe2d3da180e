"""Measuring what users run: ``gdkernels bench``, ``compare`` and ``calibrate``, with the check that the work was done.

All of it is installed, because a command or the automatic choice needs it. Studies for our own use belong to the
folder ``benchmarks`` of a checkout.
"""
