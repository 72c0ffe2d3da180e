"""Writing a file whole or not at all."""

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import BinaryIO

from gdkernels.errors import FileError, keyword
from gdkernels.system.given import checked_path, checked_switch

__all__ = ["TEMPORARY", "TakenError", "check_destination", "free_name", "write_atomically"]

TEMPORARY = ".gdkernels-{}.tmp"

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL

# The errors of link() on file systems without hard links (FAT, some network and user-space ones).
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


class TakenError(FileError):
    """A file of that name exists already."""


def write_atomically(
    path: str | os.PathLike[str],
    write: Callable[[BinaryIO], object],
    *,
    overwrite: bool,
    through_links: bool = True,
    or_beside: bool = False,
    lasting: bool = True,
) -> Path:
    """Call `write` with a temporary file in the folder of `path`, then give that file its name.

    A reader of `path` sees the old file or the whole new one, also after a crash or when two processes write at once.

    Parameters
    ----------
    write
        A function that writes the content to the binary file that it gets.
    overwrite
        Whether to replace a file that exists already.
    through_links
        Whether a symbolic link then stays, and its target is replaced; otherwise the link itself is.
    or_beside
        Whether to take the next free name if another file took the name while this one was written.
    lasting
        Whether to wait until the disk has it, so that it survives a power failure. What is made anew where it is
        damaged need not.

    Returns
    -------
    Path
        `path`, whatever a link there leads to, or the free name that was taken.

    Raises
    ------
    FileError
        If the file exists already and `overwrite` is false, or it cannot be written. Nothing is left behind.
    """
    check_destination(path, overwrite=overwrite)
    target = Path(os.path.realpath(path)) if overwrite and through_links else Path(path)
    # Not tempfile: its files are private to the user, and a model should get the permissions that any new file gets.
    temporary = target.parent / TEMPORARY.format(os.urandom(8).hex())
    try:
        try:
            try:
                # Within this block: a signal is often heard the moment that open() has made the file.
                descriptor = os.open(temporary, _NEW, 0o666)
                with os.fdopen(descriptor, "wb") as file:
                    write(file)
                    file.flush()
                    if lasting:
                        os.fsync(file.fileno())
                if overwrite:
                    if target.exists():
                        temporary.chmod(stat.S_IMODE(target.stat().st_mode))
                    temporary.replace(target)
                    named = Path(path)
                else:
                    named = _name_new(temporary, target, or_beside=or_beside)
            finally:
                _remove(temporary)
        finally:
            _remove(temporary)  # a signal may have been heard on the way to the first
        if lasting:
            _sync_folder(target.parent)
        return named
    except OSError as error:
        raise _refusal(path, error) from error


def check_destination(path: str | os.PathLike[str], *, overwrite: bool) -> None:
    """Raise the error that writing `path` would raise, as far as that is known; call this before long work.

    Raises
    ------
    FileError
        If the folder is missing or not writable, the file exists already and `overwrite` is false, or `path` is no
        place for a file.
    """
    overwrite = checked_switch("overwrite", overwrite)
    if not checked_path("path", path):
        raise FileError("the name of the file to write is empty; give one")
    path = Path(path)
    try:
        folder = Path(os.path.realpath(path)).parent if overwrite else path.parent
        if not path.name or path.is_dir():
            raise FileError(f"cannot write {path}: it is a folder; give a file name in it")
        if not folder.is_dir():
            what = (
                f"{folder} is not a folder"
                if folder.exists()
                else f"the folder {folder} does not exist; create it first"
            )
            raise FileError(f"cannot write {path}: {what}")
        if path.exists() and not path.is_file():
            raise FileError(f"cannot write {path}: it is not a regular file; choose another name")
        if os.path.lexists(path) and not overwrite:
            raise _exists(path)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise FileError(f"cannot write {path}: no permission to write in the folder {folder}; choose another")
    except OSError as error:
        raise _refusal(path, error) from error


def free_name(path: str | os.PathLike[str]) -> Path:
    """Return the next free name beside `path`: model-2.safetensors beside model.safetensors."""
    taken = Path(path)
    names = (taken.with_name(f"{taken.stem}-{k}{taken.suffix}") for k in count(2))
    return next(name for name in names if not os.path.lexists(name))


def _name_new(temporary: Path, target: Path, *, or_beside: bool) -> Path:
    """Name the file `target`, or the next free name, and return the name."""
    while True:
        try:
            _name_once(temporary, target)
            return target
        except FileExistsError:
            if not or_beside:
                raise
            target = free_name(target)


def _name_once(temporary: Path, target: Path) -> None:
    """Name the file `target`, atomically, unless a file of that name exists."""
    try:
        os.link(temporary, target)
        return
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
    # Without hard links: an empty file claims the name, which nobody else can then take, and is replaced at once.
    claim: list[int] = []
    try:
        # Made and noted in one step, between whose halves no signal is heard: what is not ours is not removed.
        claim.extend(map(os.open, [target], [_NEW], [0o666]))
        temporary.replace(target)
    except BaseException:
        if claim and os.path.samestat(os.fstat(claim[0]), target.stat()):
            target.unlink()
        raise
    finally:
        for descriptor in claim:
            os.close(descriptor)


def _remove(temporary: Path) -> None:
    with suppress(FileNotFoundError):
        temporary.unlink()


def _sync_folder(folder: Path) -> None:
    """Make the new name survive a power failure, if the file system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _exists(path: str | os.PathLike[str]) -> TakenError:
    return TakenError(f"{os.fspath(path)} exists already; to replace it, pass {keyword('overwrite', True)}")


def _refusal(path: str | os.PathLike[str], error: OSError) -> FileError:
    if error.errno == errno.EEXIST:
        return _exists(path)
    advice = {
        errno.ENOSPC: "; free some space or choose another folder",
        errno.EDQUOT: "; free some space or choose another folder",
        errno.EROFS: "; choose another folder",
        errno.EACCES: "; choose another folder",
        errno.EPERM: "; choose another folder",
        errno.ENAMETOOLONG: "; choose a shorter name",
    }.get(error.errno or 0, "")
    reason = error.strerror or str(error)
    return FileError(f"cannot write {os.fspath(path)}: {reason[:1].lower()}{reason[1:]}{advice}")
