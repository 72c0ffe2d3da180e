"""Predictions of a network where it computes, by executables that are kept from one prediction to the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gdkernels.backend import Executable
from gdkernels.backend.program import Program
from gdkernels.data.taking_sparse import taking
from gdkernels.data.validation import place_inputs
from gdkernels.definition.network import Arrays
from gdkernels.dispatch.binding import Binding
from gdkernels.dispatch.shared_executables import shared

__all__ = ["Predictor"]


class Predictor:
    """Runs programs of predictions in one place.

    Parameters
    ----------
    binding
        The place.
    """

    def __init__(self, binding: Binding) -> None:
        self._binding = binding
        self._executables: dict[Program, Executable] = {}
        self._last: tuple[Program, Executable] | None = None  # programs are compared by all that they are made of

    def predict(self, program: Program, parameters: Arrays, x: Any) -> Any:
        """Return what a program makes of placed inputs [records, inputs]."""
        return taking(x, self._executable(program), program, self._binding).predict(parameters, x)

    def place(self, X: Any, inputs: int, columns: Sequence[str] | None, codes: Mapping[int, int]) -> Any:
        """Return the user's inputs on the device, checked, as `place_inputs` does."""
        return place_inputs(self._binding, X, inputs, columns=columns, codes=codes)

    def _executable(self, program: Program) -> Executable:
        last = self._last
        if last is not None and last[0] is program:
            return last[1]
        if program not in self._executables:
            made = self._binding.executable(program)
            if shared() is not None and made.with_program(program) is not None:
                return made  # nobody keeps what is shared
            self._executables[program] = made
        self._last = (program, self._executables[program])
        return self._last[1]
