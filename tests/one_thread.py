"""A fixture for folders whose tests multiply thousands of small matrices."""

import pytest
import threadpoolctl


@pytest.fixture(autouse=True, scope="module")
def one_thread_of_blas():
    """Let NumPy's products take one thread: more wait for each other longer than such products take."""
    with threadpoolctl.threadpool_limits(1, "blas"):
        yield
