"""Tables from Parquet and Arrow (Feather) files, read by polars, which the extra ``tables`` brings.

It reads in a process of its own: a file from a stranger can be made so that polars ends the process, of which no
handler hears (memory that is not to be had aborts it, a mapped file that is cut short is a bus error).
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gdkernels.errors import InputError
from gdkernels.system.libraries import is_missing, lack_of
from gdkernels.tables.cells.cells import Cells
from gdkernels.tables.column.column_data import Column, Text
from gdkernels.tables.column.reading import BOOLEAN, Finding
from gdkernels.tables.column.values import whole_column
from gdkernels.tables.formats.streams import INSTALL
from gdkernels.tables.table.table import UnreadTable
from gdkernels.tables.table.unread import unread_column

__all__ = ["ARROW", "PARQUET", "command", "polars", "read_frame"]

PARQUET, ARROW = b"PAR1", b"ARROW1"

# The settings of polars' allocator, jemalloc. Where there is no memory for the stack of a thread of its own, it asks
# for that thread without end: by this work the reader would not see that polars waits for what never comes.
_ALLOCATOR, _NO_THREAD = "_RJEM_MALLOC_CONF", "background_thread:false"

# By process, as a fork has the pipes of its parent: a reader that nobody uses, for the next file. It ends by itself
# when there is none within a second.
_idle: dict[int, _Reader] = {}


def polars(purpose: str) -> Any:
    """Return the module polars.

    Raises
    ------
    InputError
        If it is not installed, or broken; it says what it is needed for and how to mend that.
    """
    try:
        import polars
    except Exception as error:  # a library that is broken raises anything
        if is_missing("polars", error):
            raise _missing(purpose) from None
        raise InputError(f"to {purpose} takes polars, {lack_of('polars', error, 'pip install polars')}") from None
    return polars


def read_frame(path: Path, records: int) -> Iterator[UnreadTable]:
    """Yield the table of a Parquet or Arrow file in parts of so many records; the first part may be empty.

    Raises
    ------
    InputError
        If the file is damaged, or needs more memory than there is.
    """
    if find_spec("polars") is None:
        raise _missing(f"read {path}")
    reader = _begun(path, records)
    try:
        yield from reader.tables(path)
    except InputError:
        _keep(reader)
        raise
    except BaseException:  # also where nobody wants the rest
        reader.close()
        raise
    _keep(reader)


def command() -> list[str]:
    """Return what runs the process in which polars reads: its modules are those that are found here."""
    program = (
        f"import sys; sys.path[:] = {sys.path!r}; from gdkernels.tables.formats.frames_process import main; main()"
    )
    return [sys.executable, "-c", program]


def _keep(reader: _Reader) -> None:
    if (other := _idle.pop(os.getpid(), None)) is not None:
        other.close()
    _idle[os.getpid()] = reader


@atexit.register
def _close() -> None:
    if (reader := _idle.pop(os.getpid(), None)) is not None:
        reader.close()


def _missing(purpose: str) -> InputError:
    return InputError(f"to {purpose}, {INSTALL}")


def _begun(path: Path, records: int) -> _Reader:
    """Return a process that is there to read the file."""
    reader = _idle.pop(os.getpid(), None) or _Reader()
    try:
        if reader.begin(path, records):
            return reader
        reader.close()  # it has had nothing to do, and ended
        reader = _Reader()
        if reader.begin(path, records):
            return reader
    except BaseException:
        reader.close()
        raise
    raise _no_reader(path, reader)


def _no_reader(path: Path, reader: _Reader) -> InputError:
    """Return why the process ends before it looks at the file: polars is broken, or it cannot be started here."""
    code = reader.wait()
    reader.close()
    polars(f"read {path}")
    return InputError(
        f"cannot read {path}: the process that reads such files ends before it begins, with exit code {code}; "
        f"`{sys.executable} -c 'import polars'` shows why"
    )


class _Reader:
    """A process that reads one file after another."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            command(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for this process
            env=os.environ | {_ALLOCATOR: ",".join([*filter(None, [os.environ.get(_ALLOCATOR)]), _NO_THREAD])},
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._questions, self._answers = self._process.stdin, self._process.stdout

    def begin(self, path: Path, records: int) -> bool:
        """Ask for a file; return whether the process is there to read it."""
        try:
            self._questions.write(json.dumps([os.path.abspath(path), str(path), records]).encode() + b"\n")
            self._questions.flush()
            return "begun" in self._told()
        except (BrokenPipeError, EOFError):
            return False

    def tables(self, path: Path) -> Iterator[UnreadTable]:
        """Yield the tables that it reads.

        Raises
        ------
        InputError
            If it refuses the file, or comes to its end over it.
        """
        try:
            while "done" not in (told := self._told()):
                if "refused" in told:
                    raise InputError(told["refused"])
                columns = {name: self._column(kind, more, told["rows"]) for name, kind, more in told["columns"]}
                yield UnreadTable(columns, str(path), first=told["first"])
        except EOFError:
            code = self.wait()
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            raise InputError(
                f"cannot read {path}: what reads it, a process of its own, ended with {how}; the file is damaged, or "
                "needs more memory than there is"
            ) from None

    def wait(self) -> int:
        """Return the exit code of a process that has ended, or is about to."""
        return self._process.wait()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        with suppress(BrokenPipeError):
            self._process.communicate()
        for pipe in (self._questions, self._answers):
            with suppress(BrokenPipeError):  # something may be left that was never written
                pipe.close()

    def _column(self, kind: str, told: Any, rows: int) -> Column | Cells:
        """Return a column of which the process says the kind, and what else there is to know before its bytes."""
        if kind == "unread":
            return unread_column(rows, told)
        if kind == "numbers":
            return self._array(rows, np.float64)
        if kind == "whole":
            values = self._array(rows, np.dtype(told["dtype"]))
            return whole_column(values, self._array(rows, np.bool_) if told["gaps"] else None)
        codes = self._array(rows, np.int32)
        if kind == "boolean":
            return Text(codes, tuple(told), finding=Finding(BOOLEAN))
        return Cells.of(np.append(np.array(told, object), "")[codes].tolist())

    def _array(self, rows: int, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        array = np.empty(rows, dtype)
        self._fill(array.view(np.uint8).data)
        return array

    def _told(self) -> dict[str, Any]:
        length = bytearray(8)
        self._fill(length)
        text = bytearray(int.from_bytes(length, "little"))
        self._fill(text)
        told: dict[str, Any] = json.loads(text)
        return told

    def _fill(self, buffer: bytearray | memoryview) -> None:
        """Fill a buffer with what the process writes; raise EOFError where it has ended."""
        if self._answers.readinto(buffer) < len(buffer):  # type: ignore[attr-defined]
            raise EOFError
