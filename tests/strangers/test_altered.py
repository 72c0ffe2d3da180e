"""Files from strangers: altered at random, each is taken or refused by an error of ours."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from altered import MADE

import gdkernels as gd

PROGRAM = Path(__file__).with_name("altered.py")


def altered(kind, count, seed):
    """Read so many altered files in a process of its own; return how many were refused."""
    run = subprocess.run(
        [sys.executable, PROGRAM, kind, str(count), str(seed)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return int(run.stdout)


@pytest.mark.parametrize("kind", MADE)
def test_altered_files(kind):
    assert altered(kind, 160, seed=0) >= 40  # a change that is never noticed would test nothing


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 9))
@pytest.mark.parametrize("kind", MADE)
def test_a_hundred_thousand_altered_files(kind, seed):
    assert altered(kind, 1000, seed) >= 250


class Payload:
    """What an unpickler would run."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_nothing_is_unpickled(tmp_path, suffix):
    content = np.array([Payload(tmp_path / "ran")], dtype=object)
    path = tmp_path / f"t.{suffix}"
    np.save(path, content, allow_pickle=True) if suffix == "npy" else np.savez(path, X=content, Y=content)
    with pytest.raises(gd.InputError, match="cannot read"):
        gd.tables.read(path)
    assert not (tmp_path / "ran").exists()


def test_a_pickle_is_no_model(tmp_path):
    import pickle

    (tmp_path / "m").write_bytes(pickle.dumps(Payload(tmp_path / "ran")))
    for load in (gd.load, gd.from_torch):
        with pytest.raises(gd.FileError):
            load(tmp_path / "m")
    assert not (tmp_path / "ran").exists()
