"""Networks of blocks on PyTorch's tensors: what a block computes, as functions that one compiled graph can hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gdkernels.definition.blocks.block import Block
from gdkernels.definition.blocks.compose import Residual, Sequential
from gdkernels.definition.blocks.names import names_inside
from gdkernels.definition.blocks.normal import LayerNorm
from gdkernels.randomness import RandomNumbers

__all__ = ["Computed", "computed_by"]

# A function of the parameters by name, the inputs, and the keys of the random numbers or None.
Computed = Callable[[Mapping[str, Any], Any, Any], Any]


def computed_by(torch: Any, block: Block, names: tuple[str, ...]) -> Computed:
    """Return what `block` computes, with PyTorch's own layer norm; `names` are those of its parameters and constants.

    The names, and the numbers of the blocks that draw, are found here, once, so that the graph has tensors alone.
    """
    return _computed_by(torch, block, {name: name for name in names}, RandomNumbers(None))


def _computed_by(torch: Any, block: Block, names: Mapping[str, str], random: RandomNumbers) -> Computed:
    """Return it for a block somewhere in another: `names` leads from its own names to those among all."""
    from array_api_compat import torch as xp

    if isinstance(block, Sequential):
        parts = []
        for k, inner in enumerate(block.blocks):
            own = {mine: names[among] for mine, among in names_inside(tuple(names), k)}
            parts.append(_computed_by(torch, inner, own, random.inside(k)))
        skips = isinstance(block, Residual)

        def in_turn(p: Mapping[str, Any], a: Any, keys: Any) -> Any:
            b = a
            for part in parts:
                b = part(p, b, keys)
            return a + b if skips else b

        return in_turn
    if isinstance(block, LayerNorm) and block.affine:
        scale, shift, norm = names["scale"], names["shift"], torch.nn.functional.layer_norm

        def normalised(p: Mapping[str, Any], a: Any, keys: Any) -> Any:
            return norm(a, a.shape[-1:], p[scale], p[shift], block.epsilon)

        return normalised

    number = random.block

    def computed(p: Mapping[str, Any], a: Any, keys: Any) -> Any:
        own = {mine: p[among] for mine, among in names.items()}
        return block(own, a, xp=xp, random=None if keys is None else RandomNumbers(keys, number))

    return computed
