"""Checks of an installation, with the fix for each problem: the data behind ``backends`` and ``doctor``.

Code here looks and reports. It changes nothing and chooses nothing.
"""
