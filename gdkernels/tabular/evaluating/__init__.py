"""The figures of a model on a table, and what you should know of that table: baselines, leakage, odd columns.

Code here trains nothing. What is asked of the table by training a small network belongs to `gdkernels.tabular.trials`.
"""
