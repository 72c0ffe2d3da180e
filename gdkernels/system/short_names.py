"""Modules with a short public name: both names import the one module, and nothing is loaded before."""

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, cast

__all__ = ["import_by_short_names"]


def import_by_short_names(homes: Mapping[str, str]) -> None:
    """Let ``from SHORT import name`` work for each short name, and for the modules within, as from their homes."""
    # Before the finder of files, which would load the modules within once more.
    sys.meta_path.insert(0, _ShortNames(homes))


class _ShortNames:
    """Finds a module by its short name, as the import system asks for it."""

    def __init__(self, homes: Mapping[str, str]) -> None:
        self._homes = dict(homes)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        short, dot, within = fullname, "", ""
        while short not in self._homes:
            short, _, last = short.rpartition(".")
            if not short:
                return None
            dot, within = ".", f"{last}{'.' if within else ''}{within}"
        return _spec_of(fullname, f"{self._homes[short]}{dot}{within}")


def _spec_of(fullname: str, home: str) -> ModuleSpec | None:
    from importlib.util import find_spec

    found = find_spec(home)
    if found is None:
        return None
    spec = ModuleSpec(fullname, cast(Any, _AtHome(home)), origin=found.origin)
    spec.submodule_search_locations = found.submodule_search_locations
    return spec


class _AtHome:
    """Gives the module of the home to whoever imports it by its short name."""

    def __init__(self, home: str) -> None:
        self._home = home

    def create_module(self, spec: Any) -> ModuleType:
        module = import_module(self._home)
        self._own = module.__spec__, module.__loader__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Give the module back the spec that the import system has just taken for its own; it ran at home."""
        module.__spec__, module.__loader__ = self._own
