"""The contents of the cache folder, by their names; all can be removed but measurements and files in use."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gdkernels.errors import FileError
from gdkernels.system.atomic_files import TEMPORARY
from gdkernels.system.cache_folder import cache_folder, unusable
from gdkernels.system.locks import Lock, try_lock
from gdkernels.system.scratch import remove_left_behind, scratch_folders

__all__ = ["TABLES", "CacheEntry", "clear_cache", "read_cache"]

TABLES = "tables"  # the folder of prepared records, in folders of their own

# Names of files, what they are, and whether `clear_cache` removes them. Whatever else is there is not ours.
_KINDS = (
    (re.compile(r"[0-9a-f]{32}\.(o|ll)"), "compiled code", True),
    (re.compile(r"epilogues-[0-9a-f]{24}\.json"), "choices timed on a GPU", True),
    (re.compile(re.escape(TEMPORARY).replace(r"\{\}", "[0-9a-f]{16}")), "files that were never finished", True),
    (re.compile(r"calibration-[0-9a-f]{12}-\w+\.json"), "calibrations, which stay", False),
)


@dataclass(frozen=True)
class CacheEntry:
    """A kind of content of the cache: its name, the number of its files or folders, and their bytes."""

    what: str
    count: int
    bytes: int


def read_cache() -> list[CacheEntry]:
    """Return the content that gdkernels itself keeps in the cache folder."""
    folder = cache_folder()
    found: dict[str, list[int]] = {}
    for path, what, _ in _files(folder):
        with suppress(OSError):  # somebody else removed it
            found.setdefault(what, []).append(path.stat().st_size)
    for scratch in scratch_folders(folder / TABLES):
        found.setdefault(f"prepared records, {scratch.state}", []).append(_size(scratch.folder))
    return [CacheEntry(what, len(sizes), sum(sizes)) for what, sizes in found.items()]


def clear_cache() -> str | None:
    """Remove compiled code, timed choices, and prepared records that are not in use; return the problem if that fails.

    Records of which it is unknown whether somebody uses them, as on a file system without locks, are removed too.
    """
    folder = cache_folder()
    if not folder.exists():
        return None
    if (problem := unusable(folder)) is not None:
        return problem
    for path, _, removable in _files(folder):
        if removable:
            with suppress(OSError):
                path.unlink()
    remove_left_behind(folder / TABLES, unknown=True)
    for path in folder.glob("output-*.lock"):  # of commands that were killed: others hold theirs
        with suppress(OSError, FileError):
            lock = try_lock(path, create=False)
            if isinstance(lock, Lock):
                lock.remove()
    return None


def _files(folder: Path) -> Iterator[tuple[Path, str, bool]]:
    """Yield our files, what they are, and whether they can be removed."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        for name, what, removable in _KINDS:
            if name.fullmatch(path.name) and not path.is_dir():
                yield path, what, removable


def _size(folder: Path) -> int:
    """Return the bytes of the files of a folder that may be removed meanwhile."""
    total = 0
    with suppress(OSError):
        for path in folder.iterdir():
            with suppress(OSError):
                total += path.stat().st_size
    return total
