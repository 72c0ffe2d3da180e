"""From a whole table to a network's inputs and targets, and back from its outputs; a report on each column.

The features of one column belong to `gdkernels.tables.features`.
"""
