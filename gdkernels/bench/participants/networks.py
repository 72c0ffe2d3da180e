"""The networks that a benchmark knows by name: what is made of the units of some layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from gdkernels.definition import activations
from gdkernels.definition.activations import Activation
from gdkernels.definition.blocks.block import Block
from gdkernels.definition.blocks.compose import Sequential
from gdkernels.definition.blocks.dense import Dense
from gdkernels.definition.blocks.gated import Gated
from gdkernels.definition.chain import chain, stack

__all__ = ["CHAIN", "NETWORKS", "NamedNetwork", "in_words"]

CHAIN = "chain"

_DROPPED = 0.1  # the share of the outputs of each hidden layer


@dataclass(frozen=True)
class NamedNetwork:
    """A kind of network.

    Attributes
    ----------
    block
        A function of the units of each layer, the outputs last, and of the activation of the hidden ones.
    activation
        The name of the activation that it usually has.
    """

    block: Callable[[Sequence[int], Activation], Block]
    activation: str = "relu"


def in_words(sizes: Sequence[int], network: str) -> str:
    """Return the layers and what is made of them, as in "256-256×3-10 gated"; of a chain all layers alone."""
    if network == CHAIN:
        return "-".join(map(str, sizes))
    parts = [str(sizes[0])]
    for n, alike in groupby(sizes[1:]):
        count = len(list(alike))
        parts += [f"{n}×{count}"] if count > 2 else [str(n)] * count
    return f"{'-'.join(parts)} {network}"


def _functions(units: Sequence[int], activation: Activation) -> tuple[Activation, ...]:
    return (*(activation,) * (len(units) - 1), activations.identity)


def _chain(units: Sequence[int], activation: Activation) -> Block:
    return chain(units, _functions(units, activation))


def _residual(units: Sequence[int], activation: Activation) -> Block:
    return stack(units, _functions(units, activation), residual=True, norm=True)


def _gated(units: Sequence[int], activation: Activation) -> Block:
    return Sequential(*(Gated(n, activation) for n in units[:-1]), Dense(units[-1]))


def _dropout(units: Sequence[int], activation: Activation) -> Block:
    return stack(units, _functions(units, activation), dropout=_DROPPED)


# By their names on the command line and in result files: dense layers; the same, residual with layer norm before each;
# gated units in place of the hidden layers; dense layers with dropout after the hidden ones.
NETWORKS = {
    CHAIN: NamedNetwork(_chain),
    "residual": NamedNetwork(_residual),
    "gated": NamedNetwork(_gated, "sigmoid"),
    "dropout": NamedNetwork(_dropout),
}
