"""The slots that an optimizer keeps from step to step, on the device of the network."""

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
    """Slots as NumPy arrays, and the number of steps that made them, to pass on to another trainer."""

    slots: Layers
    steps: int


class OptimizerState:
    """The slots of an optimizer for the parameters of a network.

    Attributes
    ----------
    slots
        For each parameter the tuple of its arrays; None before the network is bound.
    steps
        The number of steps that made them.
    """

    def __init__(self, network: BoundNetwork, optimizer: Optimizer) -> None:
        self._network, self._count = network, optimizer.slots
        self._binding: Binding | None = None
        self.slots: Any = None
        self.steps = 0

    def follow(self, binding: Binding) -> bool:
        """Move the slots to the present device of the network, and return whether it is another one."""
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
        """Return the slots on the host; None before there are any."""
        if self._binding is None:
            return None
        to_numpy = self._binding.to_numpy
        return Carried(map_layers(lambda arrays: tuple(map(to_numpy, arrays)), self.slots), self.steps)

    def take_over(self, carried: Carried, binding: Binding) -> None:
        """Continue with the slots of another optimizer, if it has as many."""
        self.follow(binding)
        if len(carried.slots[0].W) == self._count:
            self.slots, self.steps = self._placed(binding, carried.slots), carried.steps

    def _placed(self, binding: Binding, slots: Layers) -> Any:
        return map_layers(lambda arrays: tuple(binding.place(a, "slot") for a in arrays), slots)
