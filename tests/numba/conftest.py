import os

import pytest
from amx import emulator, emulator_library  # noqa: F401  # fixtures


@pytest.fixture(scope="session", autouse=True)
def cache_directory(tmp_path_factory):
    """Compile into a directory of the session's, which its workers and child processes share."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    directory = shared / "compiled"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GDKERNELS_CACHE", str(directory))
        yield directory
