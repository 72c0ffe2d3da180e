"""The suite that any backend runs, on ours and on array-api-strict."""

import pytest
from current_device import CurrentDeviceBackend
from gdkernels_cupy import CuPyBackend
from gdkernels_numpy import NumPyBackend
from strict_backend import StrictBackend

from gdkernels.testing import BackendConformance


class TestNumPy(BackendConformance):
    @pytest.fixture
    def backend(self):
        return NumPyBackend()


@pytest.mark.gpu
class TestCuPy(BackendConformance):
    @pytest.fixture
    def backend(self):
        return CuPyBackend()


class TestStrict(BackendConformance):
    epochs = 1  # NumPy does its arithmetic, slowly: what only it can find shows in the first steps

    @pytest.fixture
    def backend(self):
        return StrictBackend()

    @pytest.fixture(params=["CPU_DEVICE", "device1"])
    def device(self, request):
        return request.param


class TestCurrentDevice(BackendConformance):
    epochs = 1

    @pytest.fixture
    def backend(self):
        return CurrentDeviceBackend()
