"""How a column is used, and the features that it becomes: scaled numbers, classes, dates, means by name, or none.

Each use is learned from training rows and kept in JSON. Targets, and all columns together, belong to
`gdkernels.tables.preparation`.
"""
