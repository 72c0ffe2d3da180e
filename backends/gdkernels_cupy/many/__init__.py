"""One model a CTA: many narrow models train in one launch, and none waits for another.

Code here writes that kernel from the texts of `gdkernels_cupy.persistent`, and gives each model its data, its order,
its rates and its numbers. What a model does within a step belongs there, and which models go this way to
`gdkernels_cupy.choice`.
"""
