"""Which networks are trained on a table, on which rows, and when they stop: one, an average, or those of a search.

Rows come here as numbers that are prepared. `gdkernels.training` and `gdkernels.many` do the training itself.
"""
