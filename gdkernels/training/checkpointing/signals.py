"""SIGINT, SIGTERM and SIGHUP in a fit with checkpoints: finish the step, write a checkpoint, then stop training."""

from __future__ import annotations

import ctypes
import signal
import threading
from dataclasses import dataclass
from types import FrameType
from typing import Any

__all__ = ["StopSignals"]

_LARGEST = 1024  # bytes that no system's struct sigaction exceeds


@dataclass(frozen=True)
class _Handler:
    """The handler of a signal: as Python knows it, and as the system does, which may be a function in C."""

    handler: Any
    action: bytes


class StopSignals:
    """Within this context the first signal only sets `asked`; a second SIGINT interrupts at once.

    A signal that comes when nobody looks at `asked` any more is sent once more after the context, to whatever handles
    it there. Only Python's main thread can handle signals; in other threads nothing changes. A signal that is ignored
    stays ignored, as SIGHUP under nohup.
    """

    def __init__(self) -> None:
        self.asked: signal.Signals | None = None
        self._before: dict[signal.Signals, _Handler] = {}

    def __enter__(self) -> StopSignals:
        try:
            if threading.current_thread() is threading.main_thread():
                for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                    if (handler := signal.getsignal(number)) is not signal.SIG_IGN:
                        self._before[number] = _Handler(handler, _action(number))  # first: a signal may be heard here
                        signal.signal(number, self._note)
        except BaseException:
            self._give_back()
            raise
        return self

    def __exit__(self, _: object, error: BaseException | None, *__: object) -> None:
        try:
            self._give_back()
        finally:
            self._give_back()  # all of them, where another signal was heard on the way: nobody would hear them again
        if self.asked is not None and not isinstance(error, KeyboardInterrupt):
            signal.raise_signal(self.asked)

    def _give_back(self) -> None:
        while self._before:
            number, before = next(reversed(self._before.items()))
            # Python has None for a handler that is not its own, and takes none.
            signal.signal(number, signal.SIG_DFL if before.handler is None else before.handler)
            _set_action(number, before.action)
            del self._before[number]

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.asked = signal.Signals(number)
        if signal.SIGINT in self._before:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _action(number: int) -> bytes:
    """Return what the system does at a signal, as `_set_action` takes it; nothing where that cannot be asked."""
    action = ctypes.create_string_buffer(_LARGEST)
    try:
        found = ctypes.CDLL(None).sigaction(number, None, action)
    except (AttributeError, OSError):  # a system without it
        return b""
    return action.raw if found == 0 else b""


def _set_action(number: int, action: bytes) -> None:
    if action:
        ctypes.CDLL(None).sigaction(number, action, None)
