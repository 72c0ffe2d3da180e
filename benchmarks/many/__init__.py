"""Many models in one pass: `gd.fit_many` beside a loop of fits, the engine alone, jax.vmap and torch's bmm.

``python -m benchmarks.many`` trains 64 models of each of three shapes by plain descent on the sum of squared errors,
each from its own weights, at its own rate, in its own order. Participants live in processes of their own and take
turns. The engine alone is called once for each model: it is what `fit_many` could reach. Then come other numbers of
models, models that draw their orders by seeds, mixed widths, and the CPU time of a further model.
"""
