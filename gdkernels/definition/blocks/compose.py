"""Blocks made of blocks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from gdkernels.definition.blocks.block import Block, Parameter, Values
from gdkernels.definition.blocks.checks import check_block
from gdkernels.definition.blocks.names import inside, names_inside
from gdkernels.errors import InputError

__all__ = ["Mean", "Residual", "Sequential"]


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
        return {
            inside(name, k): parameter
            for k, block, width in self._numbered(inputs)
            for name, parameter in block.parameters(width).items()
        }

    def constants(self, inputs: int) -> Mapping[str, npt.NDArray[Any]]:
        return {
            inside(name, k): array
            for k, block, width in self._numbered(inputs)
            for name, array in block.constants(width).items()
        }

    def outputs(self, inputs: int) -> int:
        for block in self.blocks:
            inputs = block.outputs(inputs)
        return inputs

    def widths(self, inputs: int) -> tuple[int, ...]:
        return tuple(n for _, block, width in self._numbered(inputs) for n in block.widths(width))

    def _numbered(self, inputs: int) -> Iterator[tuple[int, Block, int]]:
        """Yield each block with its number and how many inputs it has."""
        for k, block in enumerate(self.blocks):
            yield k, block, inputs
            inputs = block.outputs(inputs)

    def __call__(self, p: Values, a: Any, *, xp: Any, random: Any = None) -> Any:
        names = tuple(p)
        for k, block in enumerate(self.blocks):
            own = {name: p[full] for name, full in names_inside(names, k)}
            a = block(own, a, xp=xp, random=None if random is None else random.inside(k))
        return a


@dataclass(frozen=True, init=False)
class Residual(Sequential):
    """a + the outputs of blocks one after the other (He et al. 2016, arXiv:1512.03385).

    Parameters
    ----------
    blocks
        The last has as many outputs as the first has inputs.
    """

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
        All have as many outputs.
    """

    blocks: tuple[Block, ...]

    def __init__(self, *blocks: Block) -> None:
        if not blocks:
            raise InputError("Mean is made of at least one block")
        for block in blocks:
            check_block("Mean", block)
        object.__setattr__(self, "blocks", blocks)

    def parameters(self, inputs: int) -> Mapping[str, Parameter]:
        return {
            inside(name, k): parameter
            for k, block in enumerate(self.blocks)
            for name, parameter in block.parameters(inputs).items()
        }

    def constants(self, inputs: int) -> Mapping[str, npt.NDArray[Any]]:
        return {
            inside(name, k): array
            for k, block in enumerate(self.blocks)
            for name, array in block.constants(inputs).items()
        }

    def outputs(self, inputs: int) -> int:
        found = {block.outputs(inputs) for block in self.blocks}
        if len(found) > 1:
            raise InputError(f"Mean takes blocks with as many outputs, got {', '.join(map(str, sorted(found)))}")
        return found.pop()

    def widths(self, inputs: int) -> tuple[int, ...]:
        return tuple(n for block in self.blocks for n in block.widths(inputs))

    def __call__(self, p: Values, a: Any, *, xp: Any, random: Any = None) -> Any:
        names = tuple(p)
        total: Any = None
        for k, block in enumerate(self.blocks):
            own = {name: p[full] for name, full in names_inside(names, k)}
            one = block(own, a, xp=xp, random=None if random is None else random.inside(k))
            total = one if total is None else total + one
        return total / float(len(self.blocks))
