"""One folder for all the twins of a session: equal sources are compiled once."""

import pytest


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("twins")
