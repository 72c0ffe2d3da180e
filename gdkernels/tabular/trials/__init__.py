"""Small trainings that answer a question about a table before the real one: is a value a gap, does time matter?

Each takes seconds, on some of the rows for training. What follows from them is a remark, or another preparation.
"""
