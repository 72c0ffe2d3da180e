"""A network with the preparation of its table: what it predicts of raw records, and what its file keeps.

The drift of new records from those of training belongs here too. Figures belong to `gdkernels.tabular.evaluating`.
"""
