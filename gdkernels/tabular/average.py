"""Several networks as one that puts out their average: side by side, each with its own units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.definition.chain import Layer, Layers
from gdkernels.errors import InputError

__all__ = ["averaged", "averaged_sizes"]


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
