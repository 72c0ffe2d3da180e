"""Executables that the jobs of one thread share: programs that differ in numbers alone have one code and one memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from gdkernels.backend import Executable
from gdkernels.backend.program import Program

if TYPE_CHECKING:
    from gdkernels.dispatch.binding import Binding

__all__ = ["Executables", "shared", "sharing"]

_MOST = 16  # that are kept, each with its memory; the least recently used gives way


class Executables:
    """The executables of one thread.

    Whoever has one uses it before asking for the next, and keeps none: another one may have its memory.

    Parameters
    ----------
    each
        What is given in place of each.

    Attributes
    ----------
    trained
        How often one to train with was taken that can be shared.
    """

    def __init__(self, each: Callable[[Executable], Executable] = lambda executable: executable) -> None:
        self._kept: list[tuple[Binding, Mapping[str, Any], Executable]] = []
        self._each = each
        self.trained = 0

    def of(
        self, binding: Binding, program: Program, choices: Mapping[str, Any], make: Callable[[], Executable]
    ) -> Executable:
        """Return an executable for a program with these choices of the plan; `make` makes one."""
        for k, (where, chosen, executable) in enumerate(self._kept):
            if where == binding and chosen == choices and (found := executable.with_program(program)) is not None:
                self._kept.append(self._kept.pop(k))
                self.trained += program.optimizer is not None
                return self._each(found)
        made = make()
        if made.with_program(program) is not None:
            self._kept = [*self._kept[1 - _MOST :], (binding, choices, made)]
            self.trained += program.optimizer is not None
        return self._each(made)


_SHARED: ContextVar[Executables | None] = ContextVar("shared executables", default=None)


def shared() -> Executables | None:
    """Return what this thread shares now, if it is `sharing`."""
    return _SHARED.get()


@contextmanager
def sharing(executables: Executables) -> Iterator[None]:
    """Have all that this thread computes meanwhile share these executables."""
    token = _SHARED.set(executables)
    try:
        yield
    finally:
        _SHARED.reset(token)
