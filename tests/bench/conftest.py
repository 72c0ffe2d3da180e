"""Plug-ins that a process of its own can see."""

import os
import sys

import pytest
from plugins import Plugins

from gdkernels.bench.contender import Contender
from gdkernels.bench.worker import Worker


@pytest.fixture
def worker(tmp_path, monkeypatch):
    """Return what starts a contender in a process that also has the plug-in whose source is given."""
    opened = []

    def start(name, source=None, **settings):
        if source is not None:
            with pytest.MonkeyPatch.context() as here:  # the plug-in is for the process, not for this one
                Plugins(tmp_path, here).add(name, source)
                Plugins.forget()
        path = os.pathsep.join([str(tmp_path), *(entry for entry in sys.path if entry)])
        environment = {"PYTHONPATH": path, "GDKERNELS_CACHE": os.environ.get("GDKERNELS_CACHE", "")}
        opened.append(Worker(Contender(name, **{"peer": False, **settings}), environment))
        return opened[-1]

    yield start
    Plugins.forget()
    for one in opened:
        one.close()
