"""Comparing measurements: verdicts on two files of results, ratios within a run, and places where the lead changes.

What belongs here reads results and measures nothing. Statistics of samples that know no rows belong to
`gdkernels.bench.sampling`.
"""
