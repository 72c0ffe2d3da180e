"""What follows from a block and the number of its inputs alone: found out once for all programs that have both."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from gdkernels.definition.blocks.block import Block, Parameter, parameters_of
from gdkernels.definition.chain import layers_in
from gdkernels.graph import remembered
from gdkernels.system.cached_property import cached_property

__all__ = ["BlockFacts", "facts_of"]


@dataclass(frozen=True)
class BlockFacts:
    """The facts about a block for a number of inputs."""

    block: Block
    inputs: int

    @cached_property
    def parameters(self) -> Mapping[str, Parameter]:
        """The declarations of the block's parameters and constants, by name."""
        return parameters_of(self.block, self.inputs)

    @cached_property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shapes of the parameters and constants, by name."""
        return {name: parameter.shape for name, parameter in self.parameters.items()}

    @cached_property
    def count(self) -> int:
        """How many numbers the parameters and constants have."""
        return sum(map(math.prod, self.shapes.values()))

    @cached_property
    def trained(self) -> tuple[str, ...]:
        """The names of the parameters that training changes."""
        return tuple(name for name, parameter in self.parameters.items() if parameter.trains)

    @cached_property
    def decaying(self) -> frozenset[str]:
        """The names of those that penalties and the decay of weights touch."""
        return frozenset(name for name in self.trained if self.parameters[name].decays)

    @cached_property
    def outputs(self) -> int:
        """The number of outputs."""
        return self.block.outputs(self.inputs)

    @cached_property
    def widths(self) -> tuple[int, ...]:
        """The numbers of a record in each matrix on the way, from the inputs to the outputs."""
        return (self.inputs, *self.block.widths(self.inputs))

    @cached_property
    def is_chain(self) -> bool:
        """Whether the block is a chain of dense layers."""
        return layers_in(self.block) is not None


facts_of = remembered(256)(BlockFacts)  # asked for anew by each of many models of one shape
