"""Locks on files: the system lets go of one when its process ends, however it ends, and other hosts see it too.

The number of a process tells less: a container does not see those of others, and numbers are given out again.
"""

from __future__ import annotations

import errno
import io
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from gdkernels.errors import FileError

__all__ = ["Lock", "Owner", "try_lock"]

_NUMBER = re.compile(rb"\d{0,20}\n?")  # all that a lock file holds: the number of the process
_LONGEST = 32
_HELD = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}
# What flock() answers where there are no locks, and where the server that keeps those of a network is away. EINVAL is
# for operations that do not exist, and ours does: some file systems answer it in place of ENOTSUP.
_NONE = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}


@dataclass(frozen=True)
class Owner:
    """The holder of a file: the number of the process, in its own container and on its own host; "" is unknown."""

    process: str


class Lock:
    """A file that is held until `close` or `remove`, or until nobody has this object any more.

    Attributes
    ----------
    is_held
        Whether others are kept away; False where the file system has no locks.
    """

    def __init__(self, path: Path, flags: int) -> None:
        self.path, self.is_held = path, False
        # Python closes it with its last owner: Ctrl-C may come between locking and whoever was to let go of it.
        self._file = io.FileIO(os.open(path, flags, 0o666), "r+")

    def take(self) -> Owner | None:
        """Hold the file, where the system can, or return who else does.

        Raises
        ------
        FileError
            If it is no lock of ours.
        """
        if not stat.S_ISREG(os.fstat(self._file.fileno()).st_mode):
            raise _foreign(self.path, "is no file")
        is_held = _flock(self._file.fileno())
        content = os.pread(self._file.fileno(), _LONGEST, 0)
        if not _NUMBER.fullmatch(content):
            raise _foreign(self.path, "holds something else")
        if is_held is None:
            return Owner(content.decode().strip())
        self.is_held = is_held
        return None

    def is_still_at(self, path: Path) -> bool:
        """Return whether `path` still names this file."""
        try:
            return os.path.samestat(os.fstat(self._file.fileno()), path.lstat())
        except FileNotFoundError:
            return False

    def sign(self) -> None:
        """Say in the file who holds it, unless it is another name of some other file."""
        if os.fstat(self._file.fileno()).st_nlink == 1:
            os.ftruncate(self._file.fileno(), 0)
            os.pwrite(self._file.fileno(), f"{os.getpid()}\n".encode(), 0)

    def close(self) -> None:
        """Let another have the file, which stays."""
        self._file.close()

    def remove(self) -> None:
        """Remove the file while it is held, and let go of it; after an interrupt, ask again."""
        if not self._file.closed and self.is_still_at(self.path):  # else it may be another's by now
            self.path.unlink(missing_ok=True)
        self.close()


def try_lock(path: Path, *, create: bool = True) -> Lock | Owner:
    """Return a lock on the file `path`, or who else holds it.

    Parameters
    ----------
    create
        Whether to make the file where there is none.

    Raises
    ------
    FileError
        If the file is no lock of ours: a link, or something with content of its own.
    OSError
        If it cannot be opened.
    """
    while True:
        lock = _opened(path, create=create)
        if isinstance(lock, Owner) or lock.is_still_at(path):
            return lock
        lock.close()  # whoever had it removed it between opening and locking: another may have made a new one


def _opened(path: Path, *, create: bool) -> Lock | Owner:
    if path.is_symlink():
        raise _foreign(path, "is a symbolic link")
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW | (os.O_CREAT if create else 0)
    lock = Lock(path, flags)
    try:
        owner = lock.take()
    except BaseException:
        lock.close()
        raise
    if owner is None:
        return lock
    lock.close()
    return owner


def _flock(descriptor: int) -> bool | None:
    """Return True where the file is locked now, None where another has it, False where there are no locks."""
    try:
        import fcntl
    except ImportError:  # not a Unix
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            return None
        if error.errno in _NONE:
            return False
        raise
    return True


def _foreign(path: Path, what: str) -> FileError:
    return FileError(f"{path} {what}, where gdkernels keeps a lock: remove it, or choose another folder")
