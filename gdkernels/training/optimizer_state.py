"""The slots that an optimizer keeps from step to step, on the device of the network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gdkernels.definition.network import Slots
from gdkernels.definition.optimizers import Optimizer
from gdkernels.dispatch.binding import Binding
from gdkernels.network import BoundNetwork

__all__ = ["Carried", "OptimizerState"]


@dataclass(frozen=True)
class Carried:
    """Slots as NumPy arrays, and the number of steps that made them, to pass on to another trainer."""

    slots: Slots
    steps: int


class OptimizerState:
    """The slots of an optimizer for the parameters of a network.

    Attributes
    ----------
    slots
        For each parameter that is trained the tuple of its arrays; None before the network is bound.
    steps
        The number of steps that made them.
    """

    def __init__(self, network: BoundNetwork, optimizer: Optimizer) -> None:
        self._network, self._count = network, optimizer.slots
        self._binding: Binding | None = None
        self.slots: Any = None
        self.steps = 0

    def __getstate__(self) -> dict[str, Any]:
        carried = self.carried()
        return vars(self) | {"_binding": None, "slots": None if carried is None else carried.slots}

    def is_at(self, binding: Binding) -> bool:
        """Return whether the slots are there already."""
        return binding is self._binding

    def follow(self, binding: Binding) -> bool:
        """Move the slots to the present device of the network, and return whether it is another one."""
        old = self._binding
        if binding is old:
            return False
        if self.slots is not None and old is None:  # a copy of one that was somewhere else
            self.slots = self._placed(binding, self.slots)
        elif self.slots is None or old is None:
            parameters, zeros = self._network.parameters, binding.zeros_like
            self.slots = {
                name: tuple(zeros(parameters[name]) for _ in range(self._count))
                for name in self._network.structure.trained
            }
        else:
            self.slots = self._placed(binding, _on_host(self.slots, old))
        self._binding = binding
        return True

    def carried(self) -> Carried | None:
        """Return the slots on the host; None before there are any."""
        if self.slots is None:
            return None
        return Carried(self.slots if self._binding is None else _on_host(self.slots, self._binding), self.steps)

    def take_over(self, carried: Carried, binding: Binding) -> None:
        """Continue with the slots of another optimizer, if it has as many."""
        self.follow(binding)
        if all(len(arrays) == self._count for arrays in carried.slots.values()):
            self.slots, self.steps = self._placed(binding, carried.slots), carried.steps

    def _placed(self, binding: Binding, slots: Slots) -> Any:
        return {name: tuple(binding.place(a, "slot") for a in arrays) for name, arrays in slots.items()}


def _on_host(slots: Slots, binding: Binding) -> dict[str, tuple[Any, ...]]:
    return {name: tuple(map(binding.to_numpy, arrays)) for name, arrays in slots.items()}
