"""CUDA text compiled without a device, by NVRTC, and the machine's instructions that came of it."""

import struct
from functools import cache
from typing import NamedTuple

import pytest

# As CuPy 14 has them: it adds the second, under which subnormal float32 numbers count as zero, and the third.
OPTIONS = ("-std=c++17", "-ftz=true", "--device-as-default-execution-space", "--ptxas-options=-v")

# The lowest 12 bits of an instruction of 16 bytes, from sm_80 to sm_90. Nobody documents them; a test finds out whether
# they are still these: products are as many as in the text, and a kernel that is made to spill has local accesses.
OPCODES = {0x23C: "product", 0x983: "local", 0x387: "local", 0x987: "local"}


class Compiled(NamedTuple):
    cubin: bytes
    ptx: str
    log: str


@cache
def compiled(nvrtc, text, architecture):
    """Return what a text is compiled to; one that does not compile fails the test with the compiler's words."""
    program = nvrtc.createProgram(text, "kernels.cu", [], [])
    try:
        nvrtc.compileProgram(program, [f"-arch={architecture}", *OPTIONS])
    except nvrtc.NVRTCError:
        pytest.fail(nvrtc.getProgramLog(program)[:2000])
    ptx = nvrtc.getPTX(program)
    log = nvrtc.getProgramLog(program)
    return Compiled(nvrtc.getCUBIN(program), ptx.decode() if isinstance(ptx, bytes) else ptx, log)


def instructions(cubin, kernel):
    """Return the instructions of a kernel, "product", "local" (of a thread's own memory) or "", in their order."""
    code = _section(cubin, f".text.{kernel}")
    return [OPCODES.get(struct.unpack_from("<Q", code, k)[0] & 0xFFF, "") for k in range(0, len(code), 16)]


def _section(elf, name):
    """Return a section of an ELF file of 64 bits by its name."""
    (table,) = struct.unpack_from("<Q", elf, 0x28)
    size, count, names = struct.unpack_from("<HHH", elf, 0x3A)
    headers = [struct.unpack_from("<IIQQQQ", elf, table + k * size) for k in range(count)]
    start = headers[names][4]
    for header in headers:
        begin = start + header[0]
        if elf[begin : elf.index(b"\0", begin)] == name.encode():
            return elf[header[4] : header[4] + header[5]]
    raise KeyError(name)
