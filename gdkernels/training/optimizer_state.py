"""What an optimizer carries from step to step, kept where the network computes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gdkernels.definition.network import Layers, map_layers
from gdkernels.definition.optimizers import Optimizer
from gdkernels.dispatch.binding import Binding
from gdkernels.network import BoundNetwork

__all__ = ["Carried", "OptimizerState"]


@dataclass(frozen=True)
class Carried:
    """Slots as NumPy arrays, and the number of steps that they come from: what survives another trainer."""

    slots: Layers
    steps: int


class OptimizerState:
    """The slots of an optimizer for the parameters of a network.

    Attributes
    ----------
    slots
        For each parameter the tuple of arrays that are carried; None before the network is bound.
    steps
        How many steps they come from.
    """

    def __init__(self, network: BoundNetwork, optimizer: Optimizer) -> None:
        self._network, self._count = network, optimizer.slots
        self._binding: Binding | None = None
        self.slots: Any = None
        self.steps = 0

    def follow(self, binding: Binding) -> bool:
        """Move the slots to where the network computes now, and return whether that is another place."""
        old = self._binding
        if binding is old:
            return False
        if self.slots is None or old is None:

            def zeros(parameter: Any) -> tuple[Any, ...]:
                return tuple(binding.xp.zeros_like(parameter) for _ in range(self._count))

            self.slots = map_layers(zeros, self._network.parameters)
        else:
            self.slots = self._placed(binding, map_layers(lambda s: tuple(map(old.to_numpy, s)), self.slots))
        self._binding = binding
        return True

    def carried(self) -> Carried | None:
        """Return what is carried, on the host; None before there is anything."""
        if self._binding is None:
            return None
        to_numpy = self._binding.to_numpy
        return Carried(map_layers(lambda arrays: tuple(map(to_numpy, arrays)), self.slots), self.steps)

    def take_over(self, carried: Carried, binding: Binding) -> None:
        """Go on with what another one carried, if its optimizer has as many slots."""
        self.follow(binding)
        if len(carried.slots[0].W) == self._count:
            self.slots, self.steps = self._placed(binding, carried.slots), carried.steps

    def _placed(self, binding: Binding, slots: Layers) -> Any:
        return map_layers(lambda arrays: tuple(binding.place(a, "slot") for a in arrays), slots)
