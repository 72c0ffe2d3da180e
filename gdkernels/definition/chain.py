"""Chains of dense layers: as a block, and their parameters layer by layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

from gdkernels.definition.activations import Activation, identity
from gdkernels.definition.blocks.block import Block
from gdkernels.definition.blocks.compose import Residual, Sequential
from gdkernels.definition.blocks.dense import Activated, Dense
from gdkernels.definition.blocks.dropout import Dropout
from gdkernels.definition.blocks.normal import LayerNorm

__all__ = [
    "NORMS",
    "NO_BATCH_NORM",
    "Layer",
    "Layers",
    "by_layer",
    "by_name",
    "chain",
    "layers_in",
    "stack",
]


class Layer(NamedTuple):
    """The arrays of one layer: its weights and biases, or their gradients, or their optimizer slots.

    ``W`` is [inputs, units] and ``b`` [units]; ``b`` is None in a network without biases.
    """

    W: Any
    b: Any = None


Layers = Sequence[Layer]

NORMS = ("layer",)  # what may stand before a layer, by name
NO_BATCH_NORM = "batch norm is not among them: it makes the records of a batch depend on each other."


def chain(units: Iterable[int], activations: Iterable[Activation], *, bias: bool = True) -> Sequential:
    """Return dense layers of so many units, an activation for each."""
    return Sequential(*(Dense(n, f, bias) for n, f in zip(units, activations, strict=True)))


def stack(
    units: Sequence[int],
    activations: Sequence[Activation],
    *,
    bias: bool = True,
    residual: bool = False,
    norm: bool = False,
    dropout: float = 0.0,
) -> Sequential:
    """Return dense layers of so many units, an activation for each, and what stands around the hidden ones.

    Parameters
    ----------
    residual
        Whether a hidden layer that is as wide as the one before it adds its inputs to its outputs.
    norm
        Whether each layer but the first takes its inputs normalised over the units of a record.
    dropout
        The share of the outputs of each hidden layer that is dropped in training.
    """
    before: list[Block] = [LayerNorm()] if norm else []
    after: list[Block] = [Dropout(dropout)] if dropout else []
    blocks: list[Block] = []
    for k, layer in enumerate(chain(units, activations, bias=bias).blocks):
        hidden = k < len(units) - 1
        inner = [*(before if k else []), layer, *(after if hidden else [])]
        skips = residual and k > 0 and hidden and units[k] == units[k - 1]
        blocks += [Residual(*inner)] if skips else inner
    return Sequential(*blocks)


def layers_in(block: Block) -> tuple[Dense, ...] | None:
    """Return the dense layers that `block` is a chain of, or None if it is something else.

    The activation around a chain becomes that of the last layer, if that has none.
    """
    around: Activation = identity
    if isinstance(block, Activated):
        around, block = block.activation, block.block
    if type(block) is not Sequential or not block.blocks:
        return None
    layers: list[Dense] = [b for b in block.blocks if isinstance(b, Dense) and type(b) is Dense]
    if len(layers) != len(block.blocks) or len({layer.bias for layer in layers}) > 1:
        return None
    if around is not identity:
        if layers[-1].activation is not identity:
            return None
        layers[-1] = Dense(layers[-1].units, around, layers[-1].bias)
    return tuple(layers)


def by_layer(named: Mapping[str, Any]) -> tuple[Layer, ...]:
    """Return the arrays of a chain layer by layer: ``W0``, ``b0``, ``W1``, … by name."""
    count = sum(name.startswith("W") for name in named)
    return tuple(Layer(named[f"W{k}"], named.get(f"b{k}")) for k in range(count))


def by_name(layers: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """Return the arrays of layers by name; a layer without a bias has none, or None in its place."""
    pairs = ((f"{kind}{k}", a) for k, layer in enumerate(layers) for kind, a in zip_longest("Wb", layer))
    return {name: a for name, a in pairs if a is not None}
