"""The most threads that somebody asks for, by the keyword ``threads`` or by GDKERNELS_THREADS."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from gdkernels.errors import InputError, shown
from gdkernels.system.ranges import whole

__all__ = ["VARIABLE", "at_most", "checked_threads", "limit_of_keyword", "limit_of_variable", "whole_number"]

VARIABLE = "GDKERNELS_THREADS"

_passed: ContextVar[int | None] = ContextVar("threads", default=None)


@contextmanager
def at_most(threads: int | None) -> Iterator[None]:
    """Let computations within this context use at most so many threads; None sets no bound."""
    if threads is None:
        yield
        return
    token = _passed.set(threads)
    try:
        yield
    finally:
        _passed.reset(token)


def checked_threads(threads: int | None) -> int | None:
    """Return the keyword `threads`, checked together with GDKERNELS_THREADS.

    Raises
    ------
    InputError
        If one of them is no number of threads.
    """
    limit_of_variable()
    if threads is not None and not whole(1).has(threads):
        raise InputError(f"threads must be a whole number of at least 1 or None, got {shown(threads)}")
    return None if threads is None else int(threads)


def limit_of_keyword() -> int | None:
    """Return what `at_most` sets around this computation, or None."""
    return _passed.get()


def limit_of_variable() -> int | None:
    """Return what GDKERNELS_THREADS says, or None where it says nothing.

    Raises
    ------
    InputError
        If it is no number of threads.
    """
    value = os.environ.get(VARIABLE, "").strip()
    if not value:
        return None
    if (number := whole_number(value)) is None:
        raise InputError(f"{VARIABLE}={value!r:.40} is no number of threads: unset it, or set it to 1 or more")
    return number


def whole_number(text: str) -> int | None:
    """Return a whole number of at least 1, or None for other text."""
    plain = text.isascii() and text.isdigit() and len(text) < 10
    return int(text) if plain and int(text) > 0 else None
