"""What defaults reach on raw tables: ours, linear models, MLPs, boosted trees; every score is kept in a file.

`benchmarks.raw_tables` asks whether gaps and text are prepared well; this asks who predicts best.
"""
