"""Participants in processes of their own, which may have plug-ins that this process has not."""

import os
import sys

import pytest
from plugins import Plugins

from gdkernels.bench.participants.participant import Participant
from gdkernels.bench.processes.client import ParticipantProcess


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """Return what installs a plug-in for the processes that are started from now on, and not for this one."""
    path = [str(tmp_path), *(entry for entry in sys.path if entry)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))

    def install(name, source):
        with pytest.MonkeyPatch.context() as here:
            Plugins(tmp_path, here).add(name, source)
        Plugins.forget()

    return install


@pytest.fixture
def process(plugin):
    """Return what starts a participant; with a source, one whose backend is that plug-in."""
    opened = []

    def start(name, source=None, **settings):
        if source is not None:
            plugin(name, source)
        opened.append(ParticipantProcess(Participant(name, **{"external": False, **settings})))
        return opened[-1]

    yield start
    for one in opened:
        one.close()
