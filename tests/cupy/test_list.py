"""The list of operations, run by its interpreter, is the definition: for everything that is compiled."""

import pytest
from interpreted import Interpreted

from gdkernels.testing import BackendConformance


class TestInterpreted(BackendConformance):
    epochs = 1

    @pytest.fixture
    def backend(self):
        return Interpreted()
