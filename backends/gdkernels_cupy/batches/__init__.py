"""Strided batches: models of one structure, too large for a CTA of their own, do each operation of a step at once.

The memory of each model begins a fixed stride behind that of the one before. Code here launches the operations of
`gdkernels_cupy.graphs` over many models, and brings their data, orders and numbers to each. What a step does belongs
there, and which models go this way to `gdkernels_cupy.choice`.
"""
