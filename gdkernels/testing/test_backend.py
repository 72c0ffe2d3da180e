"""The tests that ``python -m pytest --pyargs gdkernels.testing`` collects."""

from gdkernels.testing import BackendConformance


class TestBackend(BackendConformance):
    """The suite on the backend that GDKERNELS_BACKEND names."""
