"""The study of raw tables: ``gdkernels train`` by its defaults, beside scikit-learn's MLP set up by hand.

What belongs here makes raw tables, and the pipeline that a careful person would write for them.
"""
