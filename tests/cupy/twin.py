"""The text of kernels compiled by the host's compiler, and called as the driver calls them."""

import ctypes
import hashlib
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from made_once import made_once

FOLDERS = (Path(__file__).parent, Path(__file__).parents[1] / "persistent")
INCLUDED = [f"-I{folder}" for folder in FOLDERS]
HEADERS = (FOLDERS[0] / "twin.h", FOLDERS[1] / "fibers.h")
COLLECTIVE = re.compile(
    r"__syncthreads|over_lanes|block_total|block_columns|place_in|total_job|total_record_job|column_sums_job|transpose_job"
)


class Twin:
    """Kernels by name; each takes the shape of a launch and its arguments.

    Parameters
    ----------
    text
        What NVRTC would be given.
    direction
        The order in which blocks and threads run: 1 or -1.
    """

    def __init__(self, text, directory, flags=("-ffp-contract=off",), direction=1):
        self._library = ctypes.CDLL(compiled(text, str(directory), tuple(flags)))
        self._library.host_misaligned.restype = ctypes.c_long
        self.direction = direction

    def __call__(self, name, grid, block, arguments):
        cells = [np.asarray(a) for a in arguments]
        pointers = (ctypes.c_void_p * len(cells))(*(c.ctypes.data for c in cells))
        before = self._library.host_misaligned()
        shape = (ctypes.c_uint * 5)(*grid[:2], *block, *(grid[2:] or (1,)))
        getattr(self._library, f"host_{name}")(shape, pointers, self.direction)
        found = self._library.host_misaligned() - before
        assert not found, f"{name} takes vectors from {found} addresses that a device refuses"


@cache
def compiled(text, directory, flags):
    """Return the path of a library with a function for every kernel of `text`."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("g++ is not installed: the host twins of the kernels need it")
    lines = [text]
    kernels = dict(re.findall(r'extern "C" __global__ void (\w+)\((.*?\n)}\n', text, re.DOTALL))
    loops = dict(re.findall(r"__device__ inline void (loop_\w+)_job\((.*?\n)}\n", text, re.DOTALL))
    for name, body in kernels.items():
        collective = bool(COLLECTIVE.search(body + loops.get(name.removeprefix("models_"), "")))
        lines.append(
            f'extern "C" void host_{name}(const unsigned* shape, void** a, int order) '
            f"{{ twin::launch({name}, shape, a, {str(collective).lower()}, order); }}"
        )
    source = "\n".join(lines) + "\n"
    # Without optimization: what that takes is more than it saves in the few calls that a test makes.
    options = ["-std=c++17", "-O0", "-fPIC", "-w", *flags, *INCLUDED]
    command = [compiler, *options, "-shared", "-include", precompiled(Path(directory), options), "-x", "c++", "-", "-o"]
    target = Path(directory) / f"{digest(source, flags)}.so"
    made_once(target, lambda part: subprocess.run([*command, str(part)], input=source.encode(), check=True))
    return str(target)


def precompiled(directory, options):
    """Return the header that every twin begins with, beside what is compiled of it once: a third of the time else."""
    place = directory / digest("", tuple(options))
    place.mkdir(exist_ok=True)
    header = place / HEADERS[0].name

    def make(part):
        shutil.copyfile(HEADERS[0], header)  # what the compiler reads where the compiled one does not fit
        command = [shutil.which("g++"), *options, "-x", "c++-header", str(HEADERS[0]), "-o", str(part)]
        subprocess.run(command, check=True, capture_output=True)

    made_once(Path(f"{header}.gch"), make)
    return str(header)


def digest(source, flags, headers=HEADERS):
    """Return what a twin is kept under: whatever goes into it, the headers that it includes as well."""
    parts = [source, repr(flags), *(header.read_text() for header in headers)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
