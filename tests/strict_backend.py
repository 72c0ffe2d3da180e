"""array-api-strict as a backend: what the definition may use, and a device that the host cannot read."""

from functools import cached_property

import numpy as np
import pytest

from gdkernels.backend import Backend, host_array


class StrictBackend(Backend):
    """The standard and nothing more. Its second device does not let NumPy read its arrays, as a GPU would not."""

    name = "strict"

    def unavailable(self):
        return None

    def devices(self):
        return ["CPU_DEVICE", "device1"]

    @cached_property
    def xp(self):
        array_api_strict = pytest.importorskip("array_api_strict", reason="array-api-strict is not installed")
        array_api_strict.set_array_api_strict_flags(api_version="2024.12")
        return array_api_strict

    def asarray(self, x, *, dtype, device):
        if self.owns(x):
            x = self.to_numpy(x)
        return self.xp.asarray(host_array(x, dtype).copy(), device=self.xp.Device(device))

    def to_numpy(self, x):
        return np.asarray(x.to_device(self.xp.Device("CPU_DEVICE")))
