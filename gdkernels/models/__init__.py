"""The classes that most people import, `MLP` and `Network`, and training from several initial weights.

A model is a network with the trainer that continues its training. It adds no mathematics and no policy.
Models of raw tables belong to `gdkernels.tabular`.
"""

from gdkernels.models.mlp import MLP, load_network
from gdkernels.models.network import Network

__all__ = ["MLP", "Network", "load_network"]
