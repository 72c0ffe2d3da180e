"""Fits at the same time, in threads and in processes, end with the bits of each alone."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("parallel_fits.py")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_eight_fits_at_once(backend):
    for name in ("joblib", backend):
        if find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    # In a process of its own: other tests may have brought libraries that do not survive a fork.
    run = subprocess.run(
        [sys.executable, PROGRAM, backend],
        env=os.environ | {"OPENBLAS_NUM_THREADS": "2"},  # the bits of large products depend on it
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr[-3000:]
