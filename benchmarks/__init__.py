"""Measurements that nobody needs installed: studies, the grid beside the peers, and the script for a GPU.

Run from a checkout, as ``python -m benchmarks.peers_grid``; `README.md` says what each measures and what came out.
What users run themselves (``gdkernels bench``, ``gdkernels compare``) belongs to `gdkernels.bench`.
"""
