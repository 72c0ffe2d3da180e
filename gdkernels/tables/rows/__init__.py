"""Which rows are set aside: at random, by groups, or a sample of those that come part by part.

What each set of rows is for belongs to `gdkernels.tabular`.
"""
