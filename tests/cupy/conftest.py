import os

import pytest


@pytest.fixture(scope="session")
def twins(tmp_path_factory):
    """Return the directory of compiled twins, which all workers share."""
    base = tmp_path_factory.getbasetemp()
    directory = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "twins"
    directory.mkdir(exist_ok=True)
    return directory
