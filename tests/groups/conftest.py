"""Records in a file, for commands that ranks run."""

import numpy as np
import pytest


@pytest.fixture
def records(tmp_path):
    stream = np.random.default_rng(0)
    x = stream.standard_normal((400, 5)).astype(np.float32)
    np.savez(tmp_path / "d.npz", X=x, Y=np.sin(x[:, :1]))
    return tmp_path
