"""Every generated kernel compiles for each architecture by NVRTC, without a device, and is the code that is meant."""

import re

import pytest
from gdkernels_cupy.graphs.source import kernel_source
from nvrtc_compiler import compiled
from programs import kernels, module

from gdkernels.lowering.elementwise import ELEMENT, ROW, UNIT
from gdkernels.lowering.steps import NUMBER

# sm_90a is sm_90 with instructions that generated loops do not use; CuPy 14.2 asks for sm_90 where it compiles them.
TARGETS = [
    pytest.param(p, a, marks=[pytest.mark.slow] if a == "sm_90a" else [])
    for a in ("sm_80", "sm_90", "sm_90a")
    for p in ("float64", "float32", "bfloat16")
]


@pytest.mark.parametrize(("precision", "architecture"), TARGETS)
def test_every_kernel_compiles_without_spills(nvrtc, precision, architecture):
    cubin, _, log = compiled(nvrtc, module(precision), architecture)
    assert len(cubin) > 10_000
    assert log.count(" registers") >= len(kernels(precision))
    assert set(re.findall(r"(\d+) bytes spill stores", log)) == {"0"}
    assert set(re.findall(r"(\d+) bytes spill loads", log)) == {"0"}
    assert max(int(n) for n in re.findall(r"Used (\d+) registers", log)) <= 128  # two blocks of 256 threads or more


@pytest.mark.parametrize("precision", ["float64", "float32", "bfloat16"])
def test_rows_are_loaded_and_stored_in_vectors(nvrtc, precision):
    ptx = compiled(nvrtc, module(precision), "sm_90").ptx
    entries = {part.split("(", 1)[0].strip(): part for part in ptx.split(".entry ")[1:]}
    found = 0
    for name, kernel in kernels(precision).items():
        if kernel.recipe.kind != NUMBER:
            text = entries[name]
            loads = [i.rate for i in kernel.recipe.code if i.op == "load"]
            wide = sum(rate in (UNIT, ELEMENT) for rate in loads)
            assert len(re.findall(r"ld\.global\.v[24]\.", text)) >= wide, kernel_source(kernel)
            assert ROW in loads or not re.search(r"ld\.global\.f32", text), kernel_source(kernel)
            assert len(re.findall(r"\bst\.v[24]\.", text)) >= sum(map(len, kernel.writes)), kernel_source(kernel)
            found += 1
    assert found > 50
    assert not re.search(r"\b(atom|red)\.", ptx), "an atomic would leave the order of sums open"
