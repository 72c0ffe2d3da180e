"""The mathematics: forward pass, gradient and update, written once against an array namespace `xp`.

What belongs here is a pure function or a frozen value; formulas stand nowhere else.
Where and how fast it is computed belongs to the backends.
"""

from gdkernels.definition.network import Layer, forward, gradient, gradient_norm, map_layers, train_step, update

__all__ = ["Layer", "forward", "gradient", "gradient_norm", "map_layers", "train_step", "update"]
