"""Initial parameters: He uniform before relu-like activations, Glorot uniform before the others, biases zero."""

from __future__ import annotations  # np.random.Generator, as an annotation, would load numpy.random

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from gdkernels.definition.activations import Activation
from gdkernels.definition.network import Layer
from gdkernels.graph import value_and_derivative

__all__ = ["initial_parameters", "is_rectifier"]

_FAR = 10.0  # where every smooth rectifier in use has reached its asymptotes


def is_rectifier(f: Activation) -> bool:
    """Return whether `f` is relu-like: it lets one side through and holds back the other.

    Found from the derived slope, not from a list, so that a user's own activation is recognised too: between the far
    left and the far right the slope grows by about 1, and the far left is small.

    Raises
    ------
    TraceError
        If `f` cannot be recorded; the message names the operation and the line.
    """
    with np.errstate(all="ignore"):  # a user's function may overflow here; then it is no rectifier
        value, slope = value_and_derivative(f)(np.asarray([[-_FAR], [_FAR]]), xp=np)
    return bool(0.5 < slope[1, 0] - slope[0, 0] < 1.5 and abs(value[0, 0]) < 0.5 * _FAR)


def initial_parameters(
    sizes: Sequence[int], activations: Sequence[Activation], bias: bool, generator: np.random.Generator
) -> tuple[Layer, ...]:
    """Return float64 NumPy weights and biases for layers of these sizes, drawn layer by layer.

    Weights are uniform within ±√(6 / inputs) before a relu-like activation (He et al. 2015, arXiv:1502.01852), within
    ±√(6 / (inputs + units)) before others (Glorot & Bengio 2010).

    Parameters
    ----------
    sizes
        The number of inputs, then of the units of each layer.
    activations
        A function for each layer.
    generator
        What is drawn from; the same generator, in the same state, gives the same bits.
    """
    layers = []
    for (inputs, units), f in zip(pairwise(sizes), activations, strict=True):
        bound = math.sqrt(6.0 / (inputs if is_rectifier(f) else inputs + units))
        W = generator.uniform(-bound, bound, size=(inputs, units))
        layers.append(Layer(W, np.zeros(units) if bias else None))
    return tuple(layers)
