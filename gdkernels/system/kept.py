"""Findings that are kept between processes: small JSON files in a cache folder that belongs to the user alone."""

from __future__ import annotations

import json
from typing import Any

from gdkernels.errors import FileError
from gdkernels.system.atomic_files import write_atomically
from gdkernels.system.cache_folder import cache_folder, untrusted, unusable
from gdkernels.system.hashing import sha256
from gdkernels.system.strict_json import loads

__all__ = ["keep", "kept"]


def kept(kind: str, key: str) -> Any:
    """Return the finding of that kind under that key, or None; `key` holds all that it depends on."""
    path = cache_folder() / _name(kind, key)
    try:
        return None if untrusted(path.parent) is not None else loads(path.read_bytes())
    except (OSError, ValueError):
        return None


def keep(kind: str, key: str, value: Any) -> None:
    """Keep what JSON can hold; where nothing can be kept, it is found out anew next time."""
    folder = cache_folder()
    if unusable(folder) is None:
        text = json.dumps(value).encode()
        try:
            write_atomically(folder / _name(kind, key), lambda file: file.write(text), overwrite=True)
        except FileError:  # a full disk must not end a training
            return


def _name(kind: str, key: str) -> str:
    return f"{kind}-{sha256(key.encode()).hexdigest()[:24]}.json"
