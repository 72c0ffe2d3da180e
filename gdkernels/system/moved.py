"""Modules that moved: the old name still imports, and warns when you take something from it."""

import sys
import warnings
from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

__all__ = ["keep_old_names"]


class _MovedModule(ModuleType):
    def __init__(self, old: str, new: str, names: Mapping[str, str]) -> None:
        super().__init__(old, f"Moved to `{new}`.")
        self._new, self._names, self.__all__ = new, names, list(names)

    def __getattr__(self, name: str) -> Any:
        old = self.__name__
        if name not in self.__all__:  # nothing is imported for those who only look through sys.modules
            raise AttributeError(f"module {old!r} has no attribute {name!r}; it moved to {self._new!r}")
        now = self._names[name]
        warnings.warn(f"{old}.{name} is now {self._new}.{now}; import it from there", DeprecationWarning, stacklevel=2)
        return getattr(import_module(self._new), now)


def keep_old_names(moved: Mapping[str, tuple[str, tuple[str, ...] | Mapping[str, str]]]) -> None:
    """Let each key import as a module that takes its names from where they are now, with a `DeprecationWarning`.

    Names come with the module that has them now; a mapping says how each is called there.
    """
    for old, (new, names) in moved.items():
        told = names if isinstance(names, Mapping) else dict(zip(names, names, strict=True))
        sys.modules[old] = _MovedModule(old, new, told)
