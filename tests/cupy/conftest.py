import os

import pytest
from host_cupy import install
from one_thread import one_thread_of_blas  # noqa: F401 (a fixture)


@pytest.fixture(scope="session")
def twins(tmp_path_factory):
    """Return the directory of compiled twins, which all workers share."""
    base = tmp_path_factory.getbasetemp()
    directory = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "twins"
    directory.mkdir(exist_ok=True)
    return directory


@pytest.fixture
def host(monkeypatch, twins, tmp_path):
    """Return the host as a device, with what has been done on it; nothing is checked but by tests of the check."""
    monkeypatch.setenv("GDKERNELS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GDKERNELS_CHECK", "never")
    return install(monkeypatch, twins)
