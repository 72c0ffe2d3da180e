"""The definition on chains of dense layers whose parameters are given layer by layer, as textbooks write them."""

from gdkernels.definition import network
from gdkernels.definition.chain import Layer, by_layer, by_name, chain

__all__ = ["Layer", "forward", "gradient", "gradient_norm", "map_layers", "train_step", "update"]


def map_layers(f, *layers):
    """Return ``f`` of the weights and of the biases of each layer, taken side by side."""
    return tuple(
        Layer(f(*(s.W for s in side)), None if side[0].b is None else f(*(s.b for s in side)))
        for side in zip(*layers, strict=True)
    )


def block_of(layers, activations):
    units = [layer.W.shape[1] for layer in layers]  # symbols in a graph, where what is computed does not need them
    return chain([n if isinstance(n, int) else 1 for n in units], activations, bias=layers[0].b is not None)


def decaying(layers):
    return {f"W{k}" for k in range(len(layers))}


def forward(layers, x, *, activations, xp):
    return network.forward(block_of(layers, activations), by_name(layers), x, xp=xp)


def gradient(layers, x, y, *, activations, **settings):
    named = by_name(layers)
    error, gradients = network.gradient(block_of(layers, activations), named, x, y, trained=tuple(named), **settings)
    return error, by_layer(gradients)


def gradient_norm(layers, *, xp):
    return network.gradient_norm(by_name(layers), xp=xp)


def update(layers, gradients, slots, **settings):
    named = (by_name(layers), by_name(gradients), by_name(slots))
    moved, moved_slots = network.update(*named, decaying=decaying(layers), **settings)
    return by_layer(moved), by_layer(moved_slots)


def train_step(layers, slots, x, y, *, activations, **settings):
    named, block = by_name(layers), block_of(layers, activations)
    error, norm, moved, moved_slots = network.train_step(
        block, named, by_name(slots), x, y, trained=tuple(named), decaying=decaying(layers), **settings
    )
    return error, norm, by_layer(moved), by_layer(moved_slots)
