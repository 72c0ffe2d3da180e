"""The library of a value's class, found without an import: whoever passes a frame of pandas has loaded pandas."""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["computed", "is_of"]


def is_of(value: Any, library: str, *kinds: str) -> bool:
    """Return whether `value` is of one of a library's classes; that of a library that is not loaded never is."""
    module = sys.modules.get(library)
    classes = tuple(getattr(module, kind) for kind in kinds if hasattr(module, kind))
    return bool(classes) and isinstance(value, classes)


def computed(value: Any) -> Any:
    """Return a frame or column of Dask as one of pandas, which is computed now; all else as it is."""
    return value.compute() if is_of(value, "dask.dataframe", "DataFrame", "Series") else value
