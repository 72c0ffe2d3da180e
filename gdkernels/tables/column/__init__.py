"""A column: its numbers or text with their gaps, and what its cells mean, decided over all of them.

Numbers that stand for a gap or a date are told here too. How training uses a column belongs to
`gdkernels.tables.features`.
"""
