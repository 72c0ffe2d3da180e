"""Whole training, side by side with other software: the same work, one process each, taking turns.

``python -m benchmarks.peers_grid --grid``; ``--sizes 784-512-10 --batch 256``; ``--random 40 --seed 1``.
"""
