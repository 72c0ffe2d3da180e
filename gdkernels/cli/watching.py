"""Watching a training: the memory that it will need, its events as JSON lines, time and memory of each phase."""

from __future__ import annotations

import logging
import os
from argparse import Namespace
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from gdkernels.cli.streams import OneLine
from gdkernels.errors import FileError
from gdkernels.logs import JsonLines
from gdkernels.system.profiling import profiled

__all__ = ["add_watching", "watched"]

_log = logging.getLogger("gdkernels")

_MUCH = 10**8  # bytes beyond what there are already


def add_watching(group: Any) -> None:
    """Add the options."""
    group.add_argument(
        "--log-json",
        metavar="FILE",
        help="append choices, memory, epochs, checkpoints and warnings to this file, one JSON object a line",
    )
    group.add_argument("--profile", action="store_true", help="show the time and the memory of each phase")


@contextmanager
def watched(args: Namespace) -> Iterator[None]:
    """Within this context, watch as the command line says; `args.profile` becomes the profile, or None.

    Raises
    ------
    FileError
        If the log cannot be written.
    """
    before = _log.level
    with ExitStack() as stack:
        stack.callback(_log.setLevel, before)
        _log.setLevel(logging.INFO)
        stack.enter_context(_handling(_MemoryNotice()))
        if args.log_json is not None:
            _log.setLevel(logging.DEBUG)
            stack.enter_context(_ending(stack.enter_context(_handling(_file(args.log_json)))))
        args.profile = stack.enter_context(profiled()) if args.profile else None
        yield


class _MemoryNotice(logging.StreamHandler[Any]):
    """Says once, before the first network is trained, how much memory it needs, if that is much or in windows."""

    def __init__(self) -> None:
        super().__init__()
        self._said = False
        self.setFormatter(OneLine())

    def emit(self, record: logging.LogRecord) -> None:
        told = getattr(record, "told", {})
        if (
            not self._said
            and told.get("event") == "memory"
            and (told["records"] or told["total"] - told["now"] > _MUCH)
        ):
            self._said = True
            super().emit(record)


class _Log(logging.FileHandler):
    """Writes lines of JSON as long as it can: a full disk does not end training."""

    def __init__(self, path: str) -> None:
        super().__init__(path, encoding="utf-8")
        self.setFormatter(JsonLines())
        self._failed = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (the name is logging's)
        self._give_up("training goes on without this log")

    def close(self) -> None:
        try:
            super().close()
        except OSError:  # what is left in its buffer
            self._give_up("this log is not complete")

    def _give_up(self, so: str) -> None:
        if not self._failed:
            self._failed = True
            _log.removeHandler(self)
            _log.warning("%s cannot be written any more; %s", self.baseFilename, so)


def _file(path: str) -> _Log:
    try:
        if os.path.isfile(path):
            with open(path, "rb") as file:
                if file.read(1) not in (b"", b"{"):
                    raise FileError(
                        f"{path} is no log of gdkernels: --log-json appends to it; give the log another name"
                    )
        return _Log(path)
    except OSError as error:
        raise FileError(f"cannot write {os.fspath(path)}: {(error.strerror or str(error)).lower()}") from error


@contextmanager
def _handling(handler: logging.Handler) -> Iterator[logging.Handler]:
    _log.addHandler(handler)
    try:
        yield handler
    finally:
        _log.removeHandler(handler)
        handler.close()


@contextmanager
def _ending(log: logging.Handler) -> Iterator[None]:
    """Log the error that ended the command."""
    try:
        yield
    except BaseException as error:
        told = {"event": "end", "error": type(error).__name__}
        level = logging.ERROR if isinstance(error, Exception) else logging.WARNING
        log.handle(_log.makeRecord(_log.name, level, "", 0, str(error), (), None, extra={"told": told}))
        raise
