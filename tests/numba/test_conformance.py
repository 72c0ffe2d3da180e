"""The suite that any backend runs, on the fused CPU engine: all of it compiled."""

from dataclasses import replace

import pytest
from few_cases import FEW_CASES, FUSED_CASES
from gdkernels_numba import NumbaBackend

from gdkernels.testing import BackendConformance


class AlwaysCompiled(NumbaBackend):
    """Falling back to the definition would pass every comparison, and be none."""

    def __init__(self):
        self.checked = []

    def compile(self, program, plan):
        executable = super().compile(program, plan)
        assert executable is not None, f"{program} was not compiled"
        assert executable.origin == "compiled"
        self.checked.append(executable)
        return executable


class ByUnits(AlwaysCompiled):
    """As where few rows meet wide layers, at any size."""

    def compile(self, program, plan):
        return super().compile(program, replace(plan, choices={**plan.choices, "by_units": True}))


@pytest.fixture
def checking(monkeypatch):
    """Have everything checked before it runs; yield what makes a backend of which nothing may be found wrong."""
    monkeypatch.setenv("GDKERNELS_CHECK", "always")
    made = []
    yield lambda kind: made.append(kind()) or made[-1]
    for backend in made:
        assert [e.ways.passed_over for e in backend.checked if e.ways.passed_over] == []


class TestNumba(BackendConformance):
    @pytest.fixture
    def backend(self, checking):
        return checking(AlwaysCompiled)

    @pytest.mark.parametrize("name", FUSED_CASES)
    def test_training_is_the_definition(self, backend, device, name):
        super().test_training_is_the_definition(backend, device, name)


@pytest.mark.slow  # test_plans and the pairs of tests/blocks have this plan in the gate
class TestByUnits(BackendConformance):
    @pytest.fixture
    def backend(self, checking):
        return checking(ByUnits)

    @pytest.mark.parametrize("name", FEW_CASES)
    def test_training_is_the_definition(self, backend, device, name):
        super().test_training_is_the_definition(backend, device, name)
