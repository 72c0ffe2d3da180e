"""A folder of checkpoints: one run at a time, each file whole or not there, the newest few kept."""

from __future__ import annotations

import logging
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from gdkernels.errors import FileError
from gdkernels.files.model_file import Tensors, read_model, write_model
from gdkernels.system.atomic_files import TEMPORARY
from gdkernels.system.given import checked_path
from gdkernels.system.locks import Owner, try_lock

__all__ = ["Folder", "subfolder"]

_log = logging.getLogger("gdkernels")

_NAME = re.compile(r"step-(\d{12})\.safetensors")


class Folder:
    """Holds the lock on a folder until it is closed.

    Parameters
    ----------
    path
        It is made if its parent exists.
    keep
        The number of checkpoints that stay.

    Raises
    ------
    FileError
        If the folder cannot be written, another run uses it, or its lock is a link or somebody else's file.
    """

    def __init__(self, path: str | os.PathLike[str], keep: int) -> None:
        self.path = _made(path)
        self._keep = keep
        try:
            lock = try_lock(self.path / "lock")
        except OSError as error:
            raise _refusal(self.path, error) from error
        if isinstance(lock, Owner):
            owner = f" (process {lock.process})" if lock.process else ""
            raise FileError(
                f"another run{owner} keeps its checkpoints in {self.path}; wait for it, or choose another folder"
            )
        if not lock.is_held:
            _log.warning(
                "%s is on a file system without locks, so nothing keeps a second run out of it: do not start another "
                "run there",
                self.path,
            )
        self._lock = lock
        try:
            lock.sign()
            if lock.is_held:  # else they may be those of a run that writes now
                for left_behind in self.path.glob(TEMPORARY.format("*")):  # by a run that was killed while it wrote
                    with suppress(OSError):
                        left_behind.unlink()
        except BaseException:
            lock.close()
            raise

    def close(self) -> None:
        """Let another run have the folder."""
        self._lock.close()

    def files(self) -> list[Path]:
        """Return the checkpoints, the newest first."""
        return sorted((p for p in self.path.iterdir() if _NAME.fullmatch(p.name)), reverse=True)

    def newest(self) -> tuple[Path, Tensors, dict[str, Any]] | None:
        """Return the newest checkpoint that is intact, saying so where newer ones are not; None where there is none.

        Raises
        ------
        FileError
            If there are checkpoints and all of them are damaged.
        """
        damaged: list[FileError] = []
        for path in self.files():
            try:
                found = path, *read_model(path)
            except FileError as error:
                damaged.append(error)
                continue
            for reason in damaged:
                _log.warning("a checkpoint is damaged (%s); going on from %s", reason, path)
            return found
        if damaged:
            raise FileError(f"no checkpoint in {self.path} can be used: {damaged[0]}")
        return None

    def write(self, step: int, tensors: Tensors, metadata: dict[str, Any]) -> Path:
        """Write the checkpoint of so many steps, and then remove the oldest.

        Raises
        ------
        FileError
            If it cannot be written; the others are all there.
        """
        path = self.path / f"step-{step:012d}.safetensors"
        write_model(path, tensors, metadata, overwrite=True, through_links=False)
        for old in self.files()[self._keep :]:
            with suppress(OSError):
                old.unlink()
        return path


def subfolder(path: str | os.PathLike[str], name: str, *, make: bool = True) -> Path:
    """Return where one of several fits that share a folder keeps its checkpoints; `make` makes that folder.

    Raises
    ------
    FileError
        If the folder cannot be made, or something in it that should be a folder is a link to elsewhere.
    """
    found = (_made(path) if make else Path(path)) / name
    if found.is_symlink():
        raise FileError(
            f"cannot keep checkpoints in {found}: it is a symbolic link to another place; remove it, or choose another "
            "folder"
        )
    return found


def _made(path: str | os.PathLike[str]) -> Path:
    if not checked_path("checkpoint", path):
        raise FileError("the name of the folder for checkpoints is empty; give one")
    try:
        Path(path).mkdir(exist_ok=True)
    except OSError as error:
        raise _refusal(path, error) from error
    return Path(path)


def _refusal(path: str | os.PathLike[str], error: OSError) -> FileError:
    reason = (error.strerror or str(error)).lower()
    return FileError(f"cannot keep checkpoints in {os.fspath(path)}: {reason}; choose another folder")
