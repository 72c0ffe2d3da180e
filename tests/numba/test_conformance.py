"""The suite that any backend runs, on the fused CPU engine: all of it compiled."""

from dataclasses import replace

import pytest
from gdkernels_numba import NumbaBackend

from gdkernels.testing import BackendConformance


class AlwaysCompiled(NumbaBackend):
    """Falling back to the definition would pass every comparison, and be none."""

    def compile(self, program, plan):
        executable = super().compile(program, plan)
        assert executable is not None, f"{program} was not compiled"
        assert executable.origin == "compiled"
        return executable


class ByUnits(AlwaysCompiled):
    """As where few rows meet wide layers, at any size."""

    def compile(self, program, plan):
        return super().compile(program, replace(plan, choices={**plan.choices, "by_units": True}))


class TestNumba(BackendConformance):
    @pytest.fixture
    def backend(self):
        return AlwaysCompiled()


class TestByUnits(BackendConformance):
    @pytest.fixture
    def backend(self):
        return ByUnits()
