import pytest
from made_prices import VERSIONS, made

from gdkernels.dispatch import registry
from gdkernels.dispatch.calibration import keep


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GDKERNELS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def kept(cache, monkeypatch):
    monkeypatch.setattr(registry, "versions", lambda: VERSIONS)
    monkeypatch.setattr("gdkernels.dispatch.binding.versions", lambda: VERSIONS)
    monkeypatch.setattr("gdkernels_numba.NumbaBackend.threads", lambda self, device: (1, 2))
    keep(made())
