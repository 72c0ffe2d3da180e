"""Files larger than what a process may have in memory, in a process of its own under such a limit."""

import subprocess
import sys

import numpy as np
import pytest

SCRIPT = """
import resource, sys
import numpy as np
import gdkernels as gd
from gdkernels import memory

folder, backend = sys.argv[1:]

def fit(data):
    mlp = gd.MLP([20, 16, 1], seed=0, backend=backend)
    return mlp.fit(data, epochs=1, batch_size=64, validation=0.1, metrics=["r2"]).memory

x = np.ones((500, 20), "f4")
fit(gd.Stored(x, x[:, :1], memory=30_000))  # what is loaded and compiled once is not what is measured
allowed = memory.data() + 40_000_000
resource.setrlimit(resource.RLIMIT_DATA, (allowed, allowed))
before = memory.peak()
said = fit(gd.Stored(f"{folder}/X.npy", f"{folder}/Y.npy", memory="8MB"))
print(memory.peak() - before, said - memory.peak())
try:
    fit(gd.Stored(f"{folder}/X.npy", f"{folder}/Y.npy", memory="1GB"))
except MemoryError:
    print("too large for memory")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of data is kept by Linux")
@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_a_file_larger_than_the_limit(tmp_path, backend):
    draw = np.random.default_rng(0)
    x = draw.standard_normal((1_000_000, 20), np.float32)  # 80 MB
    np.save(tmp_path / "X.npy", x)
    np.save(tmp_path / "Y.npy", x[:, :1])
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path), backend], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.stdout.splitlines()[1:] == ["too large for memory"], done.stderr
    more, less_than_said = map(int, done.stdout.split()[:2])
    assert more < 20e6
    assert less_than_said > 0
