"""Training: a trainer and its parts, which run epochs, evaluate, write checkpoints and record the history.

What belongs here moves the parameters of a network, or watches over it.
The mathematics of a step belongs to `gdkernels.definition`, and its speed to the backends.
"""
