"""The cache folder of gdkernels, which belongs to the user, and to which nobody else may write."""

import os
import stat
from functools import lru_cache
from pathlib import Path

__all__ = ["cache_folder", "untrusted", "unusable"]


def cache_folder() -> Path:
    """Return the path of the folder: GDKERNELS_CACHE, or a place below the user's folder of caches.

    A user without a home, as many a container has, has a folder of their own among the temporary ones.
    """
    told = (os.environ.get(name) for name in ("GDKERNELS_CACHE", "XDG_CACHE_HOME", "HOME"))
    return _of_variables(*told) or _of_no_home()


@lru_cache(maxsize=16)  # each first fit of a network asks
def _of_variables(wanted: str | None, caches: str | None, home: str | None) -> Path | None:
    if wanted:
        return Path(wanted)
    folders = [caches or ""]  # the standard says that one that is not absolute is none
    if home != "":  # "~" would be the root
        folders.append(os.path.expanduser("~/.cache"))
    return next((Path(folder) / "gdkernels" for folder in folders if os.path.isabs(folder)), None)


def _of_no_home() -> Path:
    user = os.getuid() if hasattr(os, "getuid") else "user"
    return _temporary_folder() / f"gdkernels-{user}"


def _temporary_folder() -> Path:
    import tempfile  # which loads what most programs never need

    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError:  # nothing here can be written: `unusable` says so of the folder's name
        return Path(os.environ.get("TMPDIR") or os.sep)


def unusable(path: Path) -> str | None:
    """Return why the folder cannot be trusted or written, or None; create it if it is missing."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        problem = untrusted(path)
    except OSError as error:
        return f"cannot be created ({error.strerror})"
    if problem is None and not os.access(path, os.W_OK | os.X_OK):
        return "is read-only"
    return problem


def untrusted(path: Path) -> str | None:
    """Return why the files of the folder, which exists, may not be the user's own; None if they are.

    Raises
    ------
    OSError
        If the folder cannot be examined.
    """
    status = path.stat()
    if not stat.S_ISDIR(status.st_mode):
        return "is not a directory"
    if hasattr(os, "getuid") and status.st_uid != os.getuid():
        return f"belongs to user {status.st_uid}"
    if status.st_mode & 0o022:
        return "can be written by others (chmod 700 it)"
    return None
