"""One cell as people write it: which formats of numbers and dates it follows, and its value in each.

What a cell means follows from all the cells of its column, and belongs to `gdkernels.tables.column`.
"""
