"""Blocks made of blocks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

import numpy.typing as npt

from gdkernels.definition.blocks.block import Block, Parameter, Values, declared_constants, declared_parameters
from gdkernels.definition.blocks.checks import check_block
from gdkernels.definition.blocks.names import among_all, with_their_own
from gdkernels.errors import InputError
from gdkernels.system.cached_property import hashed_once

__all__ = ["Mean", "Residual", "Sequential"]


@hashed_once
@dataclass(frozen=True, init=False)
class Sequential(Block):
    """Blocks one after the other.

    Parameters
    ----------
    blocks
        Each takes the outputs of the one before it.
    """

    blocks: tuple[Block, ...]

    def __init__(self, *blocks: Block) -> None:
        for block in blocks:
            check_block(type(self).__name__, block)
        object.__setattr__(self, "blocks", blocks)

    def parameters(self, inputs: int) -> Mapping[str, Parameter]:
        return among_all(declared_parameters(block, width) for block, width in self._placed(inputs))

    def constants(self, inputs: int) -> Mapping[str, npt.NDArray[Any]]:
        return among_all(declared_constants(block, width) for block, width in self._placed(inputs))

    def outputs(self, inputs: int) -> int:
        for block in self.blocks:
            inputs = block.outputs(inputs)
        return inputs

    def widths(self, inputs: int) -> tuple[int, ...]:
        return tuple(n for block, width in self._placed(inputs) for n in block.widths(width))

    def _placed(self, inputs: int) -> Iterator[tuple[Block, int]]:
        """Yield each block with how many inputs it has."""
        for block in self.blocks:
            yield block, inputs
            inputs = block.outputs(inputs)

    def __call__(self, p: Values, a: Any, *, xp: Any, random: Any = None) -> Any:
        for block, own, drawing in with_their_own(self.blocks, p, random):
            a = block(own, a, xp=xp, random=drawing)
        return a


@dataclass(frozen=True, init=False)
class Residual(Sequential):
    """a + the outputs of blocks one after the other (He et al. 2016, arXiv:1512.03385).

    Parameters
    ----------
    blocks
        At least one; the last has as many outputs as the first has inputs.
    """

    def __init__(self, *blocks: Block) -> None:
        if not blocks:
            raise InputError("Residual is made of at least one block")
        super().__init__(*blocks)

    def outputs(self, inputs: int) -> int:
        found = super().outputs(inputs)
        if found != inputs:
            raise InputError(
                f"Residual adds its {inputs} inputs to {found} outputs of its blocks; give the last block {inputs}"
            )
        return inputs

    def widths(self, inputs: int) -> tuple[int, ...]:
        return (*super().widths(inputs), inputs)

    def __call__(self, p: Values, a: Any, *, xp: Any, random: Any = None) -> Any:
        return a + super().__call__(p, a, xp=xp, random=random)


@dataclass(frozen=True, init=False)
class Mean(Block):
    """The mean of what several blocks make of the same inputs: an ensemble as one network.

    Parameters
    ----------
    blocks
        All have the same number of outputs.
    """

    blocks: tuple[Block, ...]

    def __init__(self, *blocks: Block) -> None:
        if not blocks:
            raise InputError("Mean is made of at least one block")
        for block in blocks:
            check_block("Mean", block)
        object.__setattr__(self, "blocks", blocks)

    def parameters(self, inputs: int) -> Mapping[str, Parameter]:
        return among_all(declared_parameters(block, inputs) for block in self.blocks)

    def constants(self, inputs: int) -> Mapping[str, npt.NDArray[Any]]:
        return among_all(declared_constants(block, inputs) for block in self.blocks)

    def outputs(self, inputs: int) -> int:
        found = {block.outputs(inputs) for block in self.blocks}
        if len(found) > 1:
            different = ", ".join(map(str, sorted(found)))
            raise InputError(f"Mean takes blocks with the same number of outputs, got {different}")
        return found.pop()

    def widths(self, inputs: int) -> tuple[int, ...]:
        return tuple(n for block in self.blocks for n in block.widths(inputs))

    def __call__(self, p: Values, a: Any, *, xp: Any, random: Any = None) -> Any:
        outputs = (
            block(own, a, xp=xp, random=drawing) for block, own, drawing in with_their_own(self.blocks, p, random)
        )
        return reduce(add, outputs) / float(len(self.blocks))
