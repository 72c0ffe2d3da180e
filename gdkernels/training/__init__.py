"""Training: a trainer and its parts, which run epochs, evaluate, write checkpoints and record the history.

Code here moves the parameters of a network, or watches while they move.
The mathematics of a step belongs to `gdkernels.definition`, and its speed to the backends.
"""
