"""CUDA text compiled without a device, by NVRTC."""

import pytest


def compiled(nvrtc, text, architecture, *options):
    """Return the compiled program; one that does not compile fails the test with the compiler's words."""
    program = nvrtc.createProgram(text, "kernels.cu", [], [])
    try:
        nvrtc.compileProgram(program, [f"-arch={architecture}", "-std=c++17", *options])
    except nvrtc.NVRTCError:
        pytest.fail(nvrtc.getProgramLog(program)[:2000])
    return program
