import pytest
from host_cupy import install
from one_thread import one_thread_of_blas  # noqa: F401 (a fixture)


@pytest.fixture
def host(monkeypatch, made, tmp_path):
    """Return the host as a device, with what has been done on it; nothing is checked but by tests of the check."""
    monkeypatch.setenv("GDKERNELS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GDKERNELS_CHECK", "never")
    return install(monkeypatch, made)
