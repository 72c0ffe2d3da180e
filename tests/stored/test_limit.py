"""Files larger than what a process may have in memory, in a process of its own under such a limit.

Linux counts the stack of a thread towards the limit, as large as the user's shell lets it be (8 MB and more), and what
each thread of BLAS or of polars keeps for itself. Both are the machine's and not ours: here stacks have 1 MB, and the
libraries as many threads on every machine.
"""

import json
import os
import subprocess
import sys

import numpy as np
import polars
import pyarrow.parquet
import pytest

THREADS = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "2", "NUMBA_NUM_THREADS": "2", "POLARS_MAX_THREADS": "2"}

SCRIPT = """
import resource, sys, threading
import numpy as np
import gdkernels as gd
from gdkernels.system import memory

folder, backend = sys.argv[1:]
threading.stack_size(1 << 20)

def fit(data):
    mlp = gd.MLP([20, 16, 1], seed=0, backend=backend)
    return mlp.fit(data, epochs=1, batch_size=64, validation=0.1, metrics=["r2"]).memory

x = np.ones((500, 20), "f4")
np.ones((512, 512), "f4") @ np.ones((512, 512), "f4")  # at its first large product, BLAS takes 32 MB for itself
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


def run(script, *arguments):
    """Run a script with the usual stacks of 8 MB, in this process and in the one that reads Parquet."""
    begin = 'ulimit -S -s 8192 2>/dev/null; exec "$@"'
    command = ["sh", "-c", begin, "sh", sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | THREADS, timeout=300)


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of data is kept by Linux")
@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_a_file_larger_than_the_limit(tmp_path, backend):
    draw = np.random.default_rng(0)
    x = draw.standard_normal((1_000_000, 20), np.float32)  # 80 MB
    np.save(tmp_path / "X.npy", x)
    np.save(tmp_path / "Y.npy", x[:, :1])
    done = run(SCRIPT, tmp_path, backend)
    assert done.stdout.splitlines()[1:] == ["too large for memory"], done.stderr
    more, less_than_said = map(int, done.stdout.split()[:2])
    assert more < 20e6
    assert less_than_said > 0


TABLE = """
import resource, sys, threading
from gdkernels.system import memory
from gdkernels.cli import main

small, large, size, more = sys.argv[1:]
threading.stack_size(1 << 20)

def train(data, size):
    run = ["--hidden", "16", "--epochs", "1", "--backend", "numpy", "--json", "--memory", size]
    assert main(["train", data, "--target", "y", *run]) == 0
    return 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss

reader = train(small, "300kB")  # what is loaded once, and what threads begin with, is not what is measured
allowed = memory.data() + int(float(more))
resource.setrlimit(resource.RLIMIT_DATA, (allowed, allowed))
before = memory.peak()
print("limited")
reader = train(large, size) - reader
print("had", memory.peak() - before, memory.peak(), reader)
"""


def write(path, size, rows=40_000):
    """Write a table of at least so many bytes, so many rows at a time."""
    draw, first, parquet = np.random.default_rng(0), True, None
    with path.open("wb") as file:
        while file.tell() < size:
            x = draw.standard_normal((rows, 10))
            town = draw.choice(["Ames", "Nevada", ""], len(x))
            columns = {f"x{k}": x[:, k] for k in range(10)}
            part = polars.DataFrame(columns | {"town": town, "y": 2 * x[:, 0] - x[:, 1]})
            if path.suffix == ".csv":
                part.write_csv(file, include_header=first)
            else:
                table = part.to_arrow(compat_level=polars.CompatLevel.oldest())
                parquet = parquet or pyarrow.parquet.ParquetWriter(file, table.schema, compression="zstd")
                parquet.write_table(table)
            first = False
        if parquet is not None:
            parquet.close()


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of data is kept by Linux")
@pytest.mark.parametrize(
    ("kind", "size", "windows", "more"),
    [
        ("csv", 22e6, "2MB", 20e6),  # it takes 13 MB, and 135 MB with windows of 1 GB
        ("parquet", 22e6, "2MB", 200e6),
        pytest.param("csv", 3e9, "256MB", 800e6, marks=pytest.mark.slow),
        pytest.param("parquet", 2.2e9, "256MB", 800e6, marks=pytest.mark.slow),
    ],
)
def test_a_table_larger_than_the_limit(tmp_path, kind, size, windows, more):
    small, large = (tmp_path / f"{name}.{kind}" for name in ("small", "large"))
    write(small, 1, rows=4_000)
    write(large, size)
    done = run(TABLE, small, large, windows, more)
    assert done.returncode == 0, done.stderr
    result, _, had = done.stdout.split("limited\n")[1].rpartition("had ")
    told, (beyond, peak, reader) = json.loads(result), map(int, had.split())
    assert told["metrics"]["r2"] > 0.5
    assert beyond < 0.7 * size
    assert peak < told["memory"]
    # What reads Parquet is a process of its own, under the same limit.
    assert reader < (0.7 * size if kind == "parquet" else 1e6)
