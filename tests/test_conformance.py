"""The suite that any backend runs, on ours and on array-api-strict."""

from functools import cached_property

import array_api_strict
import numpy as np
import pytest
from current_device import CurrentDeviceBackend
from gdkernels_cupy import CuPyBackend
from gdkernels_numpy import NumPyBackend

from gdkernels.backend import Backend, host_array
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


class StrictBackend(Backend):
    """The standard and nothing more. Its second device does not let NumPy read its arrays, as a GPU would not."""

    name = "strict"

    def unavailable(self):
        return None

    def devices(self):
        return ["CPU_DEVICE", "device1"]

    @cached_property
    def xp(self):
        array_api_strict.set_array_api_strict_flags(api_version="2024.12")
        return array_api_strict

    def asarray(self, x, *, dtype, device):
        if self.owns(x):
            x = self.to_numpy(x)
        return self.xp.asarray(host_array(x, dtype).copy(), device=self.xp.Device(device))

    def to_numpy(self, x):
        return np.asarray(x.to_device(self.xp.Device("CPU_DEVICE")))


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
