"""The class that most people import, `MLP`, and training from several initial weights.

A model is a network with the trainer that continues its training. It adds no mathematics and no policy.
Models of raw tables belong to `gdkernels.tabular`.
"""

from gdkernels.models.mlp import MLP, load_mlp

__all__ = ["MLP", "load_mlp"]
