"""The suite that any backend runs, on the fused CPU engine."""

import pytest
from gdkernels_numba import NumbaBackend

from gdkernels.testing import BackendConformance


class TestNumba(BackendConformance):
    @pytest.fixture
    def backend(self):
        return NumbaBackend()
