"""Several networks as one that puts out their average: side by side, each with its own units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.definition.blocks import Block, Mean, Sequential
from gdkernels.definition.blocks.names import among_all, inside, names_inside, place_of
from gdkernels.definition.chain import Layer, Layers, by_layer
from gdkernels.definition.objective import Objective
from gdkernels.errors import InputError
from gdkernels.models.network import Network
from gdkernels.tabular.networks.encoding import network_of

__all__ = ["averaged", "averaged_sizes", "mean_of_blocks", "side_by_side", "stretch"]

Array = npt.NDArray[Any]


def side_by_side(made: list[Network], network: dict[str, Any]) -> Network:
    """Return the average of trained networks as one network, with the arguments of each."""
    whole = _of_layers(made, network) if made[0].network.structure.layers is not None else _of_blocks(made, network)
    # It predicts what its parts were trained for; nothing else knows whether it puts out classes.
    objective = made[0].network.objective
    assert objective is not None
    whole.network.train_for(Objective(objective.loss))
    return whole


def stretch(network: Network, scale: float) -> None:
    """Multiply what the last layer puts out."""
    named = network.network.host_parameters()
    last = max(map(place_of, named))
    network.set_parameters({name: a * scale if place_of(name) == last else a for name, a in named.items()})


def averaged_sizes(sizes: Sequence[int], count: int) -> list[int]:
    """Return the sizes of the network that `averaged` makes of `count` networks of `sizes`."""
    return [sizes[0], *(count * n for n in sizes[1:-1]), sizes[-1]]


def averaged(networks: Sequence[Sequence[Layer]]) -> Layers:
    """Return the parameters, NumPy arrays, of the network whose last layer puts out the mean of the networks'.

    Exactly so, as each layer is linear before its activation: the first layers stand side by side, those between are
    blocks on a diagonal of zeros, the last ones are stacked and divided by their number.

    Raises
    ------
    InputError
        If the networks have different shapes.
    """
    if len({tuple(tuple(layer.W.shape) for layer in network) for network in networks}) != 1:
        raise InputError("only networks of the same sizes can be averaged")
    count, depth = len(networks), len(networks[0])
    result = []
    for k in range(depth):
        layers = [network[k] for network in networks]
        weights, biases = [np.asarray(layer.W) for layer in layers], [layer.b for layer in layers]
        if k == depth - 1:
            W = np.vstack(weights) / count if depth > 1 else np.mean(weights, axis=0)
            b = None if biases[0] is None else np.mean(np.array(biases), axis=0)
        else:
            W = np.hstack(weights) if k == 0 else _diagonal(weights)
            b = None if biases[0] is None else np.concatenate(biases)
        result.append(Layer(W, b))
    return result


def _diagonal(blocks: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    rows, columns = blocks[0].shape
    whole = np.zeros((len(blocks) * rows, len(blocks) * columns), blocks[0].dtype)
    for k, block in enumerate(blocks):
        whole[k * rows : (k + 1) * rows, k * columns : (k + 1) * columns] = block
    return whole


def _of_layers(made: list[Network], network: dict[str, Any]) -> Network:
    """Return one chain of layers, with the units of all of them."""
    whole = network_of(network | {"sizes": averaged_sizes(network["sizes"], len(made))})
    whole.set_parameters(averaged([by_layer(mlp.network.host_parameters()) for mlp in made]))
    return whole


def mean_of_blocks(blocks: Sequence[Block], parameters: Sequence[dict[str, Array]], network: dict[str, Any]) -> Network:
    """Return the mean of trained blocks side by side, at the place that the arguments of a network name."""
    whole = Network(Mean(*blocks), network["sizes"][0], **_place_of(network))
    whole.set_parameters(among_all(parameters))
    return whole


def _place_of(network: dict[str, Any]) -> dict[str, Any]:
    return {name: network[name] for name in ("output", "seed", "backend", "device", "precision", "threads")}


def _of_blocks(made: list[Network], network: dict[str, Any]) -> Network:
    """Return the mean of their blocks, which can be any; numbers are encoded once for all of them."""
    named = [mlp.network.host_parameters() for mlp in made]
    blocks = [mlp.block for mlp in made]
    encoding = network.get("encoding")
    if encoding is None:
        return mean_of_blocks(blocks, named, network)
    after = [block.blocks[1] for block in blocks if isinstance(block, Sequential)]
    whole = Network(Sequential(encoding, Mean(*after)), made[0].inputs, **_place_of(network))
    edges = {full: named[0][full] for _, full in names_inside(tuple(named[0]), 0)}
    own = [{ours: a[full] for ours, full in names_inside(tuple(a), 1)} for a in named]
    whole.set_parameters(edges | {inside(name, 1): a for name, a in among_all(own).items()})
    return whole
