"""Studies from a checkout: what gdkernels measures about itself, and nobody needs installed.

Each is a command, as in ``python -m benchmarks.peers_grid``; `README.md` says which one answers which question, and
what came out. What users run themselves (``gdkernels bench``, ``compare`` and ``calibrate``) belongs to
`gdkernels.bench`, and so do the participants and their processes, which the studies share with it.
"""
