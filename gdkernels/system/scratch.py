"""Temporary folders, held by a lock while a process works in them, so that others know whether one was left behind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gdkernels.errors import FileError
from gdkernels.system.locks import Lock, try_lock

__all__ = ["Scratch", "remove_left_behind", "scratch_folder", "scratch_folders"]

_LOCK = ".lock"


@dataclass(frozen=True)
class Scratch:
    """A folder that `scratch_folder` made.

    Attributes
    ----------
    state
        "in use", "left behind", or "unknown": where the file system has no locks, or the folder has none.
    """

    folder: Path
    state: str


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """Make a folder in `parent`, which is there, and remove it in the end, as `remove_left_behind` does if that fails.

    Raises
    ------
    OSError
        If it cannot be made.
    """
    # The lock comes first and goes last: a folder without one would be nobody's for a moment.
    lock, folder = _new(parent)
    try:
        lock.sign()
        folder.mkdir(mode=0o700)
        yield folder
    finally:
        _remove(folder)
        lock.remove()


def scratch_folders(parent: Path) -> list[Scratch]:
    """Return what there is in `parent`."""
    found = []
    for folder, lock in _looked_at(parent):
        if lock is not None:
            lock.close()
        found.append(Scratch(folder, _state(folder, lock)))
    return found


def remove_left_behind(parent: Path, *, unknown: bool = False) -> None:
    """Remove the folders of processes that ended without doing so; if that is `unknown`, only on request."""
    for folder, lock in _looked_at(parent):
        if _state(folder, lock) in ("left behind", *(["unknown"] if unknown else [])):
            _remove(folder)
            if lock is not None:
                lock.remove()
        elif lock is not None:
            lock.close()


def _new(parent: Path) -> tuple[Lock, Path]:
    while True:
        folder = parent / f"{os.getpid()}-{os.urandom(4).hex()}"
        lock = try_lock(_lock_of(folder))
        if isinstance(lock, Lock):  # else somebody looked whether it was left behind, before it was held
            return lock, folder


def _looked_at(parent: Path) -> Iterator[tuple[Path, Lock | None]]:
    """Yield each folder with its lock, or with None if another process holds that."""
    if not parent.is_dir():
        return
    locks = {path.with_suffix("") for path in parent.glob(f"*{_LOCK}")}
    for folder in sorted(locks | {path for path in parent.iterdir() if path.is_dir()}):
        try:
            lock = try_lock(_lock_of(folder), create=False)
        except (OSError, FileError):  # it has none, or has gone meanwhile
            lock = None
        yield folder, lock if isinstance(lock, Lock) else None


def _state(folder: Path, lock: Lock | None) -> str:
    if lock is None:
        return "in use" if _lock_of(folder).exists() else "unknown"
    return "left behind" if lock.is_held else "unknown"


def _lock_of(folder: Path) -> Path:
    return folder.with_name(folder.name + _LOCK)


def _remove(folder: Path) -> None:
    import shutil  # which loads what most programs never need

    shutil.rmtree(folder, ignore_errors=True)
