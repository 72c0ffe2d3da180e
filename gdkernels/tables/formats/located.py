"""The files that the name of a table means: a file, those in a folder, or a built-in data set."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gdkernels.errors import FileError, InputError, keyword
from gdkernels.tables.formats.builtin import BUILT_IN
from gdkernels.tables.formats.objects import paths_of

__all__ = ["check_separate", "files_of"]

_SUFFIXES = (".csv", ".tsv", ".txt", ".parquet", ".arrow", ".feather", ".ipc", ".npy", ".npz")
_COMPRESSED = (".gz", ".zst")


def files_of(paths: Sequence[str]) -> list[Path]:
    """Return the files that `paths` name, those of a folder by name; a built-in set stays a str."""
    found: list[Path] = []
    for item in paths:
        if not item:  # as of a shell's variable that is not set; it is no word for this folder
            raise FileError("the name of a table is empty: give a file, a folder or a built-in data set")
        if item in BUILT_IN:
            found.append(item)  # type: ignore[arg-type]
        elif Path(item).is_dir():
            inside = sorted(p for p in Path(item).iterdir() if p.is_file() and _is_table(p.name))
            if not inside:
                raise FileError(f"the folder {item} holds no table: no file that ends in {', '.join(_SUFFIXES[:5])} …")
            found += inside
        else:
            found.append(Path(item))
    return found


def check_separate(data: Any, test: Any) -> None:
    """Refuse a table that holds a file twice, or one that its figures are measured on; what is in memory is not seen.

    Raises
    ------
    InputError
        Then: records that are learned and measured flatter.
    """
    paths, test_paths = paths_of(data), paths_of(test)
    found = [] if paths is None else list(map(_real, files_of(paths)))
    if twice := next((name for name, count in Counter(found).items() if count > 1), None):
        raise InputError(f"{twice} is given twice, so the same records would be learned and measured: give it once")
    if test_paths is not None and (both := {*found} & {*map(_real, files_of(test_paths))}):
        raise InputError(
            f"{keyword('test_file')} brings {min(both)}, which is to be learned, so the figures would flatter: give "
            "a table of its own"
        )


def _real(path: str | Path) -> str:
    return os.path.realpath(path) if isinstance(path, Path) else path


def _is_table(name: str) -> bool:
    plain = next((name.removesuffix(c) for c in _COMPRESSED if name.endswith(c)), name)
    return plain.lower().endswith(_SUFFIXES) and not name.startswith((".", "_"))
