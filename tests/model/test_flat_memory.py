"""Three thousand epochs take no more memory than five hundred, apart from what the history keeps of each."""

import subprocess
import sys

import pytest

PROGRAM = """
import sys
from pathlib import Path
import numpy as np
import gdkernels as gd

backend, folder = sys.argv[1:]
x = np.random.default_rng(0).standard_normal((48, 3), np.float32)
kilobytes = {}

def note(epoch):
    if epoch.number in (500, 3000):
        status = Path("/proc/self/status").read_text()
        # What it has asked for: of that, the system gives and takes back pages, also huge ones, when it likes.
        kilobytes[epoch.number] = int(status.split("VmData:")[1].split()[0])

mlp = gd.MLP([3, 512, 1], seed=0, backend=backend)
run = {"epochs": 3000, "validation": 0.3, "batch_size": 16, "callbacks": [note]}
history = mlp.fit(x, x[:, :1], checkpoint=folder, every="250 epochs", **run)
assert len(history.epochs) == 3000
print(kilobytes[3000] - kilobytes[500])
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's own count is read from /proc")
@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_memory_is_flat(tmp_path, backend):
    pytest.importorskip(backend)
    command = [sys.executable, "-c", PROGRAM, backend, tmp_path / "c"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) < 2 * 2500, "two kilobytes for each epoch's record; the parameters of one are ten"
