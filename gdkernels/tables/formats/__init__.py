"""The formats that tables are read from and written in: text, Parquet, Arrow, NPY, built-in data, frames in memory.

Cells come out as they are spelled. `gdkernels.tables.read` finds out the format, and has the cells' meaning decided.
"""
