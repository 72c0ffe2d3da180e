import pytest
from one_thread import one_thread_of_blas  # noqa: F401 (a fixture)


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """Let nothing be known of what compilers made."""
    monkeypatch.setenv("GDKERNELS_CACHE", str(tmp_path / "cache"))
