"""AMX where there is none: its instructions are generated as for a processor that has them, and emulated."""

import ctypes
import platform
import shutil
import subprocess
from pathlib import Path

import pytest
from gdkernels_numba.cpu import features

SOURCE = Path(__file__).parent / "amx_emulator.c"


class Emulator:
    """What was done so far, by all threads: tiles configured and released, and products of them."""

    def __init__(self, library):
        self._library = library

    def counts(self):
        return tuple(getattr(self._library, f"amx_{what}")() for what in ("configured", "released", "multiplied"))


def why_not():
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return "instructions are emulated on Linux on x86"
    if not {"avx512f", features.AVX512_BF16} <= features.features():
        return "what surrounds the tiles needs a processor with AVX512-BF16"
    if "amx-tile" in features.features():
        return "this processor has AMX: nothing is to be emulated"
    return None if shutil.which("gcc") else "there is no gcc to compile the emulator with"


@pytest.fixture(scope="session")
def emulator_library(tmp_path_factory):
    if why_not():
        pytest.skip(why_not())
    made = tmp_path_factory.mktemp("amx") / "amx_emulator.so"
    options = ["-O3", "-mavx2", "-mfma", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run(["gcc", *options, "-o", str(made), str(SOURCE), "-lm"], check=True)
    return ctypes.CDLL(str(made))


@pytest.fixture
def emulator(emulator_library, monkeypatch):
    """Let the processor seem to have AMX for a test."""
    has = features.features() | {"amx-tile", features.AMX_BF16}
    monkeypatch.setattr(features, "features", lambda: has)
    monkeypatch.setattr(features, "tiles_are_permitted", lambda: True)
    assert emulator_library.amx_install() == 0
    yield Emulator(emulator_library)
    assert emulator_library.amx_remove() == 0
