"""The table itself: columns by name, parts put together, a column taken as a model wants it.

Code here knows no file and no other library: both belong to `gdkernels.tables.formats`.
"""
