"""SIGTERM and SIGHUP end a command as Ctrl-C does: what it was writing is removed, the exit code names the signal."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

__all__ = ["Ended", "ending"]


class Ended(KeyboardInterrupt):
    """A signal ended the command; ``signal`` is its number. It interrupts everything that Ctrl-C does."""

    def __init__(self, number: int) -> None:
        super().__init__(f"ended by {signal.Signals(number).name}")
        self.signal = number


@contextmanager
def ending() -> Iterator[None]:
    """Within this context, have these signals raise `Ended`, unless they are handled or ignored already.

    By default they would end the process on the spot; the first process of a container would not hear them at all.
    """
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:
                before[number] = signal.signal(number, _end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    signal.signal(number, signal.SIG_DFL)  # a second one need not wait for anything
    raise Ended(number)
