"""Compiled activations far out on the left: right to rounding in float32, values and slopes."""

import pytest
import tails
from engine_runs import compiled


@pytest.mark.parametrize("name", tails.NAMES)
def test_values_and_slopes(name):
    tails.check_executable(name, compiled(tails.program(name)))
