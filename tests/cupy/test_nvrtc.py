"""Every generated kernel compiles for each architecture by NVRTC, without a device, and is the code that is meant."""

import re

import pytest
from gdkernels_cupy.graphs.jobs import kernel_source
from programs import kernels, text_with

from gdkernels.lowering.elementwise import ELEMENT, ROW, UNIT
from gdkernels.lowering.steps import NUMBER

PRECISIONS = ("float64", "float32", "bfloat16")
# sm_90a is sm_90 with instructions that generated loops do not use; CuPy 14.2 asks for sm_90 where it compiles them.
ARCHITECTURES = ("sm_80", "sm_90", "sm_90a")


def share(precision, architecture):
    """Return the kernels of a precision that are compiled for one of two architectures, the others for the other.

    Of the same loop, the next precision's kernel is compiled for the other architecture: every two of loop, precision
    and architecture meet in half of the time that all three take.
    """
    loops = list(dict.fromkeys(k.recipe for p in PRECISIONS for k in kernels(p).values()))
    turn = PRECISIONS.index(precision) + ARCHITECTURES.index(architecture)
    return [k for k in kernels(precision).values() if (loops.index(k.recipe) + turn) % 2]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_kernel_is_compiled_once(precision):
    first, second = (share(precision, a) for a in ARCHITECTURES[:2])
    assert sorted(map(kernel_source, first + second)) == sorted(map(kernel_source, kernels(precision).values()))
    assert min(len(first), len(second)) > 60


@pytest.mark.parametrize("architecture", ARCHITECTURES[:2])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_kernel_compiles_without_spills(nvrtc, precision, architecture):
    check(nvrtc, share(precision, architecture), architecture)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_kernel_compiles_on_every_architecture(nvrtc, precision, architecture):
    check(nvrtc, kernels(precision).values(), architecture)


def check(nvrtc, some, architecture):
    cubin, _, log = nvrtc.compiled(text_with(some), architecture)
    assert len(cubin) > 10_000
    assert log.count(" registers") >= len(some)
    assert set(re.findall(r"(\d+) bytes spill stores", log)) == {"0"}
    assert set(re.findall(r"(\d+) bytes spill loads", log)) == {"0"}
    assert max(int(n) for n in re.findall(r"Used (\d+) registers", log)) <= 128  # two blocks of 256 threads or more


@pytest.mark.parametrize("precision", PRECISIONS)
def test_rows_are_loaded_and_stored_in_vectors(nvrtc, precision):
    ptx = "".join(nvrtc.compiled(text_with(share(precision, a)), a).ptx for a in ARCHITECTURES[:2])
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
