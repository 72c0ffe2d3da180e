"""The places where a network may compute, one after the other: the one you asked for, and those that have failed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gdkernels.backend import Backend, Plan
from gdkernels.data.records import records_in
from gdkernels.dispatch import choosing, registry
from gdkernels.dispatch.array_api import choose_for, on_host
from gdkernels.dispatch.binding import Binding
from gdkernels.dispatch.workload import Workload
from gdkernels.errors import BackendError

__all__ = ["Places"]

Move = Callable[[Binding], None]


class Places:
    """Chooses where a network computes. A backend that fails is followed by the next, unless you named it.

    Parameters
    ----------
    backend, device
        As for `gdkernels.MLP`.
    left
        The bindings before, whose arrays somebody may have kept.
    """

    def __init__(self, backend: str | Backend, device: str | None, left: Sequence[Binding] = ()) -> None:
        self._backend, self._device = backend, device
        self._failed: dict[str, str] = {}  # backends, and what they failed with
        self._left = list(left)

    @property
    def backend_by_name(self) -> str | Backend:
        """The name by which another process finds the backend, or the backend itself where it is not found so."""
        asked = self._backend
        return asked.name if isinstance(asked, Backend) and asked.name in registry.find() else asked

    def binding(self, precision: str) -> Binding:
        """Return the binding that is chosen where the work is not known.

        Raises
        ------
        BackendError
            If what you named cannot run here.
        """
        choice = choosing.choose(self._backend, self._device, precision)
        return Binding(choice.backend, choice.device, precision, choice.reason)

    def admit(self, binding: Binding) -> bool:
        """Return whether a binding is no other place than the user named, and none has failed so far."""
        named = self._backend if isinstance(self._backend, str) else self._backend.name
        fits = named in ("auto", binding.backend.name) and self._device in (None, binding.device)
        return fits and not self._failed

    def named(self, backend: str | Backend, device: str | None) -> Places:
        """Return the only place there is from now on."""
        return Places(backend, device, self._left)

    def first(
        self, move: Move, X: Any, workload: Callable[[int], Workload], precision: str, planned: Plan | None = None
    ) -> None:
        """Move to the best place that takes the parameters.

        Parameters
        ----------
        move
            Called with the next binding: moves the parameters there.
        workload
            A function from the number of records to the job.

        Raises
        ------
        BackendError
            If there is none, or if the one that somebody named does not.
        """
        records = records_in(X)
        job = workload(records) if records else None
        while True:
            choice = choose_for(X, self._backend, self._device, precision, job, planned, self._failed)
            guessed = choice.guessed and on_host(X)
            try:
                return move(Binding(choice.backend, choice.device, precision, choice.reason, guessed))
            except BackendError as error:
                if not guessed:
                    raise
                self._failed[choice.backend.name], planned = str(error), None

    def after(
        self, binding: Binding, error: BackendError, move: Move, X: Any, workload: Callable[[int], Workload]
    ) -> bool:
        """Move to the place after one that failed; return whether there is one, and the parameters are there."""
        if not binding.guessed or not on_host(X):
            return False
        before = dict(self._failed)
        self._failed[binding.backend.name] = str(error)
        try:
            self.first(move, X, workload, binding.precision)
        except BackendError:  # nothing else runs here, or the device gives the parameters back no more
            self._failed = before
            return False
        self._left.append(binding)
        return True

    def reachable(self, a: Any, binding: Binding) -> Any:
        """Return an array that `binding` can take: one from a place that was left comes over the host."""
        if binding.backend.owns(a):
            return a
        former = next((place for place in self._left if place.backend.owns(a)), None)
        return a if former is None else former.to_numpy(a)
