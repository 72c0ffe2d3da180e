"""Taking samples of times on a machine that is never quiet: turns, intervals, and a probe of what disturbs them.

Code here knows nothing of networks or participants: it calls what it is given, and counts seconds.
Verdicts on files of results belong to `gdkernels.bench.comparing`.
"""
