"""Activations far out on the left in the text of the narrow kernel: right to rounding in float32, values and slopes."""

import pytest
import tails
from gdkernels_cupy.persistent.executable import PersistentExecutable
from persistent_twin import TwinDevice

from gdkernels.backend import Plan


@pytest.mark.parametrize("name", tails.NAMES)
def test_values_and_slopes(made, name):
    device, plan = TwinDevice(made, ctas=1), Plan("cupy", "cuda:0", "tf32", {"warps": 4})
    tails.check_executable(name, PersistentExecutable(tails.program(name), plan, device))
