"""The files that a command writes: none of them is an input or another output, and no other command writes them."""

from __future__ import annotations

import os
import re
import stat
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from gdkernels.cli.arguments import option
from gdkernels.errors import FileError, InputError
from gdkernels.system.atomic_files import TakenError, free_name
from gdkernels.system.cache_folder import cache_folder, unusable
from gdkernels.system.hashing import sha256
from gdkernels.system.locks import Lock, Owner, try_lock

__all__ = ["check_outputs", "claimed", "say_beside", "write_or_beside"]

# Arguments of any command that name files: to be written whole, to be written to, and to be read.
_WHOLE = ("out", "plot", "report")
_WRITTEN = (*_WHOLE, "log_json")
_READ = ("data", "test_file", "model", "a", "b")
_CHECKPOINT = re.compile(r"lock|step-\d{12}\.safetensors|network-\d+")


def check_outputs(args: Namespace) -> None:
    """Refuse outputs that would destroy an input, a checkpoint, a stream or each other, whatever --force says.

    Raises
    ------
    InputError
        It names both.
    """
    written = [(option(name), str(path)) for name in _WRITTEN if (path := getattr(args, name, None)) is not None]
    if not written:
        return
    for k, (name, path) in enumerate(written):
        for other_name, other in written[:k]:
            if _same(path, other):
                raise InputError(f"{other_name} and {name} name the same file, {path}; give two")
    for read in _inputs(args):
        for name, path in written:
            if _same(path, read):
                raise InputError(f"{name} {path} is a file that this command reads; give the output another name")
    for name, path in written:
        if (stream := _stream_to(path)) is not None:
            raise InputError(f"{name} {path} is where {stream} goes; give the output another name")
    checkpoints = getattr(args, "checkpoint", None)
    if checkpoints is not None:
        for name, path in written:
            if _same(path, checkpoints):
                raise InputError(f"--checkpoint and {name} name the same place, {path}; give two")
            inside = Path(os.path.realpath(checkpoints)) in Path(os.path.realpath(path)).parents
            if inside and _CHECKPOINT.fullmatch(Path(path).name):
                raise InputError(f"{name} {path} is a name of checkpoints in {checkpoints}; give it another name")


@contextmanager
def claimed(args: Namespace) -> Iterator[None]:
    """Keep others from starting to write the same outputs while this command works.

    Raises
    ------
    FileError
        If another command is about to write one of them.
    """
    held: list[Lock] = []
    try:
        folder = cache_folder()
        for name in _WHOLE:
            path = getattr(args, name, None)
            if path is None or unusable(folder) is not None:  # then the later of two is told when it has its result
                continue
            key = sha256(os.fsencode(os.path.realpath(path))).hexdigest()[:24]
            try:
                lock = try_lock(folder / f"output-{key}.lock")
            except OSError:
                continue
            if isinstance(lock, Owner):
                who = f"another command{f' (process {lock.process})' if lock.process else ''}"
                raise FileError(f"{who} is about to write {path}; wait for it, or choose another name")
            held.append(lock)
            lock.sign()
        yield
    finally:
        try:
            _let_go(held)
        finally:
            _let_go(held)  # of all of them, where a signal was heard on the way


def _let_go(held: list[Lock]) -> None:
    while held:
        lock = held[-1]
        lock.remove() if lock.is_held else lock.close()
        held.pop()


def write_or_beside(write: Callable[[str], object], path: str) -> str:
    """Call `write` with `path`, or where another file has that name by now, with the next free one; return the name."""
    name = path
    while True:
        try:
            write(name)
            return name
        except TakenError:
            name = str(free_name(path))


def say_beside(written: Mapping[str | None, str | None]) -> None:
    """Raise `TakenError` if an output has another name than you asked for: a program would read the wrong file."""
    beside = [
        f"somebody else wrote {asked} meanwhile, and it was left as it is; your result is {name}"
        for asked, name in written.items()
        if asked is not None and name is not None and Path(asked) != Path(name)
    ]
    if beside:
        raise TakenError("; ".join(beside))


def _inputs(args: Namespace) -> Iterator[str]:
    """Yield the files that the command reads, those in folders too."""
    for name in _READ:
        given = getattr(args, name, None)
        for item in [given] if isinstance(given, str) else given or ():
            if os.path.isdir(item):
                with suppress(OSError):  # a folder that cannot be read is refused by whoever reads it
                    yield from (os.path.join(item, name) for name in os.listdir(item))
            elif os.path.exists(item):  # the name of a built-in data set is no file
                yield item


def _stream_to(path: str) -> str | None:
    """Return which stream the caller sent to the file `path`, which would be lost, or mixed with what is written."""
    for name, stream in (("stdout", sys.stdout), ("stderr", sys.stderr)):
        with suppress(OSError, ValueError, AttributeError):  # there is no such file yet, or the stream is none
            found = os.fstat(stream.fileno())
            if stat.S_ISREG(found.st_mode) and os.path.samestat(found, os.stat(path)):
                return name
    return None


def _same(one: str, other: str) -> bool:
    if os.path.realpath(one) == os.path.realpath(other):
        return True
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False
