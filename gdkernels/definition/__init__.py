"""The definition: forward, gradient and update, written once against an array namespace."""

from gdkernels.definition.network import Layer, forward, gradient, gradient_norm, map_layers, train_step, update

__all__ = ["Layer", "forward", "gradient", "gradient_norm", "map_layers", "train_step", "update"]
