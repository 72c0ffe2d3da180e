"""The engine on processors that this machine does not have, under an emulator: minutes each, for `-m slow`.

`docs/contributing.md` says what they take.
"""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("numba")

SCRIPT = Path(__file__).parents[1] / "other_processors.py"
QEMU = "qemu-x86_64-static"
AARCH64 = "GDKERNELS_TEST_AARCH64"


def run(command, cache, lanes):
    """Run the script in another Python, and see that it ran on vectors of so many numbers and found nothing wrong."""
    ended = subprocess.run(
        [*command, str(SCRIPT)],
        env={**os.environ, "GDKERNELS_CACHE": str(cache)},
        capture_output=True,
        text=True,
        check=False,
        timeout=3600,
    )
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    assert f"float32 lanes: {lanes}\n" in ended.stdout
    assert "runs, 0 wrong" in ended.stdout


@pytest.mark.slow
def test_this_processor(tmp_path):
    from gdkernels_numba.cpu.features import float_lanes

    run([sys.executable], tmp_path, float_lanes())


@pytest.mark.slow
@pytest.mark.parametrize(("processor", "lanes"), [("Haswell", 8), ("Nehalem", 4)])
def test_an_x86_processor_without_avx512(tmp_path, processor, lanes):
    if shutil.which(QEMU) is None:
        pytest.skip(f"{QEMU} is not installed")
    packages = {p for p in sys.path if p.endswith("site-packages")}
    interpreter = Path(sys.executable).resolve()  # QEMU reads no virtual environment's link
    code = f"import sys, runpy; sys.path[:0] = {sorted(packages)!r}; runpy.run_path(sys.argv[1], run_name='__main__')"
    run([QEMU, "-cpu", processor, str(interpreter), "-c", code], tmp_path, lanes)


@pytest.mark.slow
def test_an_arm_processor(tmp_path):
    command = os.environ.get(AARCH64)
    if not command:
        pytest.skip(f"{AARCH64} names no command that starts a Python of aarch64 with Numba")
    run(shlex.split(command), tmp_path, 4)
