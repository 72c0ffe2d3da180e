"""One folder for all the twins of a session: equal sources are compiled once."""

import pytest
from one_thread import one_thread_of_blas  # noqa: F401 (a fixture)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("twins")
