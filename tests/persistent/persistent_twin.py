"""Running the narrow kernel on the host: the same source through g++, every thread of the device a fiber."""

import ctypes
import hashlib
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from gdkernels_cupy.persistent.launch_device import DeviceProperties
from made_once import made_once

SCHEDULES = (0, 1, 7)  # warps in order, reversed, in a random order
HEADERS = tuple(Path(__file__).parent / name for name in ("host_primitives.h", "twin.h", "fibers.h"))

_GXX = shutil.which("g++")

# Hardly optimized: what more takes to compile is more than it saves in the few steps that a test runs.
OPTIONS = (
    "-std=c++17", "-Og", "-march=native", "-fno-strict-aliasing", "-fno-gnu-unique", "-Wno-unknown-pragmas", "-fPIC",
    f"-I{Path(__file__).parent}",
)  # fmt: skip


class TwinError(Exception):
    """What the twin found: threads that do not meet, addresses that do not fit."""


def build(text, signatures, folder, *, banks=False, ucontext=False):
    """Return the kernels of a source, compiled for the host."""
    if _GXX is None:
        pytest.skip("the twin needs g++")
    shims = "\n".join(_shim(name, signature) for name, signature in signatures.items())
    flags = [*(["-DTWIN_BANKS"] if banks else []), *(["-DTWIN_UCONTEXT"] if ucontext else [])]
    name = digest(f"{text}{shims}{flags}")
    options = [*OPTIONS, *flags]

    def make(part):
        command = [_GXX, *options, "-shared", "-include", str(precompiled(folder, options)), "-x", "c++", "-"]
        source = f"{text}\n{shims}\n"
        done = subprocess.run([*command, "-o", str(part)], input=source, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[:4000]

    return Library(ctypes.CDLL(str(made_once(folder / f"{name}.so", make))), signatures)


def precompiled(folder, options):
    """Return the header that every twin begins with, beside what is compiled of it once: a third of the time else."""
    place = folder / digest(repr(options))
    place.mkdir(exist_ok=True)
    header = place / HEADERS[1].name

    def make(part):
        shutil.copyfile(HEADERS[1], header)  # the same file to `#pragma once`, where what is compiled does not fit
        command = [_GXX, *options, "-x", "c++-header", str(HEADERS[1]), "-o", str(part)]
        subprocess.run(command, check=True, capture_output=True)

    made_once(Path(f"{header}.gch"), make)
    return header


def digest(text, headers=HEADERS):
    """Return what a twin is kept under: whatever goes into it, the headers that it includes as well."""
    return hashlib.sha256("\0".join([text, *(h.read_text() for h in headers)]).encode()).hexdigest()[:20]


def _shim(name, signature):
    """Return a C function that starts a kernel, and says what went wrong."""
    names = ", ".join(argument.split()[-1] for argument in signature.split(", "))
    return f"""
extern "C" const char* start_{name}(int blocks, long bytes, unsigned schedule, long* counts, {signature}) {{
    twin::launch(blocks, THREADS, bytes, schedule, [&] {{ {name}({names}); }});
    counts[0] = twin::count.mma, counts[1] = twin::count.conflicts;
    return twin::problem.c_str();
}}"""


class Library:
    """Kernels on the host; arrays are NumPy's."""

    def __init__(self, library, signatures):
        self._library, self._signatures = library, signatures
        self.counts = np.zeros(2, np.int64)  # matrix instructions of warps, conflicts of banks

    def launch(self, name, blocks, shared_bytes, arguments, schedule=0):
        """Run a kernel; arguments are arrays, integers as they are."""
        function = self._library[f"start_{name}"]
        function.restype = ctypes.c_char_p
        wide = "long long" in self._signatures[name]
        integer = ctypes.c_longlong if wide else ctypes.c_int
        given = [
            a.ctypes.data_as(ctypes.c_void_p) if isinstance(a, np.ndarray) else None if a is None else integer(a)
            for a in arguments
        ]
        counts = self.counts.ctypes.data_as(ctypes.c_void_p)
        problem = function(blocks, ctypes.c_long(shared_bytes), ctypes.c_uint(schedule), counts, *given)
        if problem:
            raise TwinError(problem.decode())


class TwinDevice:
    """The host as the device of a narrow executable."""

    def __init__(self, folder, *, ctas=2, schedule=0, shared_bytes=232448, change=None, banks=False, ucontext=False):
        self.properties = DeviceProperties(90, shared_bytes)
        self.folder, self.ctas, self.schedule = folder, ctas, schedule
        self.change, self.options = change or (lambda text: text), {"banks": banks, "ucontext": ucontext}
        self.mma = self.conflicts = 0  # of the last training kernel

    def compile(self, source):
        assert source.text.isascii(), "CuPy writes it to a file, in whatever encoding the locale has"
        return TwinKernels(self, build(self.change(source.text), source.signatures, self.folder, **self.options))

    def contiguous(self, a):
        return np.ascontiguousarray(a, np.float32)

    def copy(self, a):
        return np.array(a, np.float32)

    def put(self, a):
        return a.copy()

    def zeros(self, count, dtype):
        return np.zeros(count, dtype)

    def to_numpy(self, a):
        return a

    def address(self, a):
        return a.ctypes.data

    def wait(self):
        pass

    def describe(self):
        return "the twin"


class TwinKernels:
    def __init__(self, device, library):
        self.device, self.twins = device, library

    def resident(self):
        return self.device.ctas

    def local_bytes(self):
        return 0

    def launch(self, name, ctas, shared_bytes, arguments, *, together):
        assert not together or ctas <= self.device.ctas
        self.twins.launch(name, ctas, shared_bytes, arguments, self.device.schedule)
        if name in ("train", "train_many"):
            self.device.mma, self.device.conflicts = map(int, self.twins.counts)
