"""Distributions with backends, made for a test: real metadata, real entry points, nothing of the environment's."""

import importlib.metadata
import os
import sys

from gdkernels.dispatch import choosing, registry

WORKING = """
from gdkernels_numpy import NumPyBackend
class Backend(NumPyBackend):
    name = {name!r}
    priority = {priority}
    precisions = {precisions!r}
    def devices(self): return {devices!r}
    def unavailable(self): {unavailable}
    def expected(self): {expected}
"""


def working(
    name,
    *,
    priority=0,
    precisions=("float64", "float32"),
    devices=("cpu",),
    unavailable="return None",
    expected="return False",
):
    """Return the source of a backend; `unavailable` and `expected` are the bodies of its methods."""
    return WORKING.format(**{**locals(), "devices": list(devices)})


class Plugins:
    def __init__(self, folder, monkeypatch):
        self._folder = folder
        self._monkeypatch = monkeypatch
        monkeypatch.syspath_prepend(folder)
        monkeypatch.setattr("importlib.metadata.entry_points", self._entry_points)
        self.forget()

    def add(self, name, source=None, *, distribution=None, version="1.0"):
        """Write a distribution with one plug-in called `name`."""
        distribution = distribution or f"gdkernels-{name}"
        module = distribution.replace("-", "_") + "_plugin"
        (self._folder / f"{module}.py").write_text(working(name) if source is None else source)
        self._monkeypatch.delitem(sys.modules, module, raising=False)
        info = self._folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[{registry.GROUP}]\n{name} = {module}:Backend\n")
        self.forget()

    def _entry_points(self, *, group):
        return [
            point
            for distribution in importlib.metadata.distributions(path=[str(self._folder)])
            for point in distribution.entry_points
            if point.group == group
        ]

    @staticmethod
    def forget():
        for cached in (registry._points, registry._found, choosing._warn_once):
            cached.cache_clear()


def environment(*folders, **variables):
    """Return the environment for a Python of its own that imports what this one does, and from `folders` first."""
    path = os.pathsep.join([*map(str, folders), *(entry for entry in sys.path if entry)])
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("GDKERNELS_", "COV_", "PYTEST_"))}
    return clean | {"PYTHONPATH": path} | variables
