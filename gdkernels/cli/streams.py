"""Stdin, stdout and stderr: they work even if the caller closed them, and stay quiet once nobody reads them."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from gdkernels.system.printable import Printable, one_line

__all__ = ["STDOUT", "OneLine", "data_stream", "flush", "open_streams", "printing", "say", "stop_writing"]


def open_streams() -> bool:
    """Give stdin, stdout and stderr to the null device where they are closed, and return whether stdout was.

    Python has None for them then. What prints would fail, or write to stdout what is for stderr; and the next file that
    is opened would get their number, and with it whatever a library prints.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    closed = sys.stdout is None
    # Not by their numbers: whoever called from Python may have opened a file that has one of them.
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (for as long as the process)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    return closed


STDOUT = "<stdout>"  # what Python calls it


class OneLine(logging.Formatter):
    """Formats a record of the library's log as one line of the command."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return f"gdkernels: {one_line(record.getMessage())}"


@contextmanager
def printing() -> Iterator[None]:
    """Within this context, spell out the characters that a terminal would obey."""
    before, sys.stdout = sys.stdout, Printable(sys.stdout)
    try:
        yield
    finally:
        sys.stdout = before


def data_stream() -> Any:
    """Return stdout for data: unchanged to a file or a program, with control characters spelled out on a terminal."""
    if isinstance(sys.stdout, Printable) and not sys.stdout.isatty():
        return Printable(sys.stdout.raw, spelled=False)
    return sys.stdout


def say(text: str) -> None:
    """Print to stdout, at once; if its reader is gone, go on without output: what the command did, it did."""
    try:
        print(text)
        flush()
    except BrokenPipeError:
        stop_writing()


def flush() -> None:
    """Write the buffer of stdout, so that an error comes now and not when Python ends.

    Raises
    ------
    OSError
        If it cannot be written; the file that it names is stdout.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        stop_writing()
        raise OSError(error.errno, error.strerror, STDOUT) from error


def stop_writing() -> None:
    """Have stdout go nowhere from now on: the rest of its buffer would fail once more when Python ends."""
    with suppress(OSError):  # it may be no file at all, where somebody calls from Python
        number, null = sys.stdout.fileno(), os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, number)
        os.close(null)
