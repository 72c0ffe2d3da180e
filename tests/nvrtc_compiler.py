"""CUDA text compiled without a device, by NVRTC, and the machine's instructions that came of it."""

import ctypes
import hashlib
import pickle
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from made_once import made_once

# As CuPy 14 has them: it adds the second, under which subnormal float32 numbers count as zero, and the third.
OPTIONS = ("-std=c++17", "-ftz=true", "--device-as-default-execution-space", "--ptxas-options=-v")

# The lowest 12 bits of an instruction of 16 bytes, from sm_80 to sm_90. Nobody documents them; a test finds out whether
# they are still these: products are as many as in the text, and a kernel that is made to spill has local accesses.
OPCODES = {0x23C: "product", 0x983: "local", 0x387: "local", 0x987: "local"}


class Compiled(NamedTuple):
    cubin: bytes
    ptx: str
    log: str


@dataclass(frozen=True)
class NVRTC:
    """CuPy's binding of NVRTC, and a folder for what it compiled."""

    binding: Any
    folder: Path
    name: str = "13"

    def compiled(self, text, architecture):
        """Return what a text is compiled to; one that does not compile fails the test with the compiler's words."""
        told = "\0".join([str(self.binding.getVersion()), text, architecture, *OPTIONS])
        path = self.folder / f"{hashlib.sha256(told.encode()).hexdigest()[:20]}.nvrtc"
        made_once(path, lambda part: part.write_bytes(pickle.dumps(self._compile(text, architecture))))
        return Compiled(*pickle.loads(path.read_bytes()))

    def _compile(self, text, architecture):
        nvrtc = self.binding
        program = nvrtc.createProgram(text, "kernels.cu", [], [])
        try:
            nvrtc.compileProgram(program, [f"-arch={architecture}", *OPTIONS])
        except nvrtc.NVRTCError:
            pytest.fail(nvrtc.getProgramLog(program)[:2000])
        ptx = nvrtc.getPTX(program)
        log = nvrtc.getProgramLog(program)
        return nvrtc.getCUBIN(program), ptx.decode() if isinstance(ptx, bytes) else ptx, log


class NVRTCError(Exception):
    """What a library of NVRTC refuses."""


class Library:
    """A library of NVRTC by its path, behind the functions that CuPy's binding has."""

    NVRTCError = NVRTCError

    def __init__(self, path):
        self._library = ctypes.CDLL(str(path))

    def getVersion(self):  # noqa: N802 (as CuPy has it)
        version = ctypes.c_int(), ctypes.c_int()
        self._call("nvrtcVersion", *map(ctypes.byref, version))
        return tuple(number.value for number in version)

    def createProgram(self, text, name, headers, names):  # noqa: N802 (as CuPy has it)
        program = ctypes.c_void_p()
        self._call("nvrtcCreateProgram", ctypes.byref(program), text.encode(), name.encode(), 0, None, None)
        return program

    def compileProgram(self, program, options):  # noqa: N802 (as CuPy has it)
        given = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
        self._call("nvrtcCompileProgram", program, len(options), given)

    def getProgramLog(self, program):  # noqa: N802 (as CuPy has it)
        return self._bytes("ProgramLog", program)[:-1].decode(errors="replace")

    def getPTX(self, program):  # noqa: N802 (as CuPy has it)
        return self._bytes("PTX", program)[:-1]

    def getCUBIN(self, program):  # noqa: N802 (as CuPy has it)
        return self._bytes("CUBIN", program)

    def _bytes(self, what, program):
        size = ctypes.c_size_t()
        self._call(f"nvrtcGet{what}Size", program, ctypes.byref(size))
        found = ctypes.create_string_buffer(size.value)
        self._call(f"nvrtcGet{what}", program, found)
        return found.raw

    def _call(self, name, *arguments):
        if status := getattr(self._library, name)(*arguments):
            raise NVRTCError(f"{name} answers {status}")


def library_of_cuda_12():
    """Return NVRTC of CUDA 12 where its wheel is installed, or None."""
    found = (Path(p, "nvidia/cuda_nvrtc/lib/libnvrtc.so.12") for p in sys.path)
    return next((Library(path) for path in found if path.exists()), None)


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
