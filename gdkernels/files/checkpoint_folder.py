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
        How many checkpoints stay.

    Raises
    ------
    FileError
        If the folder cannot be written, or another run uses it.
    """

    def __init__(self, path: str | os.PathLike[str], keep: int) -> None:
        import fcntl

        self.path = _made(path)
        self._keep = keep
        try:
            self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise _refusal(self.path, error) from error
        try:
            # The system lets go of it when the process ends, however it ends.
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.pread(self._lock, 32, 0).decode(errors="replace").strip()
            os.close(self._lock)
            raise FileError(
                f"another run{f' (process {owner})' if owner else ''} keeps its checkpoints in {self.path}; "
                "wait for it, or choose another folder"
            ) from None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)
        for left_behind in self.path.glob(TEMPORARY.format("*")):  # by a run that was killed while it wrote
            with suppress(OSError):
                left_behind.unlink()

    def close(self) -> None:
        """Let another run have the folder."""
        os.close(self._lock)

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
        write_model(path, tensors, metadata, overwrite=True)
        for old in self.files()[self._keep :]:
            with suppress(OSError):
                old.unlink()
        return path


def subfolder(path: str | os.PathLike[str], name: str) -> Path:
    """Return where one of several fits that share a folder keeps its checkpoints.

    Raises
    ------
    FileError
        If the folder cannot be made.
    """
    return _made(path) / name


def _made(path: str | os.PathLike[str]) -> Path:
    try:
        Path(path).mkdir(exist_ok=True)
    except OSError as error:
        raise _refusal(path, error) from error
    return Path(path)


def _refusal(path: str | os.PathLike[str], error: OSError) -> FileError:
    reason = (error.strerror or str(error)).lower()
    return FileError(f"cannot keep checkpoints in {os.fspath(path)}: {reason}; choose another folder")
