import programs
import pytest
from gdkernels_cupy.persistent.launch_device import DeviceProperties
from host_cupy import install
from one_thread import one_thread_of_blas  # noqa: F401 (a fixture)
from persistent_twin import TwinDevice

from gdkernels.checking import ways


@pytest.fixture(scope="session", autouse=True)
def kernels_are_kept(made):
    programs.keep_in(made)


@pytest.fixture
def host(monkeypatch, made, tmp_path):
    """Return the host as a device, with what has been done on it; nothing is checked but by tests of the check."""
    monkeypatch.setenv("GDKERNELS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GDKERNELS_CHECK", "never")
    return install(monkeypatch, made)


@pytest.fixture
def hopper(monkeypatch, made):
    """Let the persistent kernel's own twin be the device."""
    from gdkernels_cupy import choice

    monkeypatch.setattr(choice, "CudaLaunchDevice", lambda number: TwinDevice(made))
    monkeypatch.setattr(choice, "properties_of", lambda number: DeviceProperties(90, 232448))
    ways._warn_once.cache_clear()
    return choice
