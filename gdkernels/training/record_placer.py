"""Placing the user's records where a network trains, whatever runs its epochs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakMethod

from gdkernels.data.records import Records, place_records
from gdkernels.data.rounding import SAMPLE, warn_of_rounding
from gdkernels.data.stored import Stored
from gdkernels.data.stored.placing import place_stored
from gdkernels.data.stored.windows import Windows
from gdkernels.definition.objective import Objective
from gdkernels.dispatch.binding import Binding
from gdkernels.groups.sharding import ALONE, Sharding
from gdkernels.network import BoundNetwork

__all__ = ["RecordPlacer"]


class RecordPlacer:
    """Puts records on the device of a network, checked, and warns once of numbers that the precision cannot tell apart.

    Parameters
    ----------
    network
        The network.
    objective
        What it is trained for.
    follow
        Called with the binding before it is used: what runs the epochs may have arrays to move there.
    """

    def __init__(self, network: BoundNetwork, objective: Objective, follow: Callable[[Binding], None]) -> None:
        # Its owner gives a method of its own: a cycle would keep networks and their memory until somebody collects it.
        self._network, self._objective, self._follow = network, objective, WeakMethod(follow)
        self._looked = False

    def bind(self, X: Any) -> Binding:
        """Return the binding of the network, and choose it first if there is none."""
        binding = self._network.binding or self._network.bind(X)
        if (follow := self._follow()) is not None:
            follow(binding)
        return binding

    def place(
        self, X: Any, Y: Any, sample_weight: Any = None, *, batch: int, of: str = "", sharding: Sharding = ALONE
    ) -> Records | Windows:
        """Return the records on the device, or windows of them, for batches of a size, if they are in files."""
        stored = Stored.of(X, Y, sample_weight)
        if stored is None:
            records = self.place_records(X, Y, sample_weight, of=of)
            if not of:
                self.look_at(X, Y)
            return records
        binding, spec = self.bind(stored), self._network.expects(self._objective)
        placed = place_stored(binding, stored, spec=spec, batch=min(batch, len(stored)), sharding=sharding)
        if not of:
            self.look_at(*stored.sample(SAMPLE))
        return placed

    def place_records(self, X: Any, Y: Any, sample_weight: Any = None, *, of: str = "") -> Records:
        """Return the user's arrays as records on the device, checked."""
        spec = self._network.expects(self._objective)
        return place_records(self.bind(X), X, Y, sample_weight, spec=spec, of=of)

    def look_at(self, X: Any, Y: Any) -> None:
        """Warn once of numbers to train on that the precision cannot tell apart."""
        if not self._looked:
            self._looked = True
            for given, name in ((X, "X"), (Y, "Y")):
                warn_of_rounding(self.bind(None), given, name)
