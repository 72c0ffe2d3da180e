"""Without llvmlite everything runs on NumPy, and what installing it would give is said once."""

import logging

import gdkernels_numba
import numpy as np
import pytest

import gdkernels as gd
from gdkernels.dispatch import choosing, registry


@pytest.fixture
def without_llvmlite(monkeypatch):
    monkeypatch.setattr(gdkernels_numba, "find_spec", lambda name: None)
    for variable in ("GDKERNELS_BACKEND", "GDKERNELS_DEVICE"):
        monkeypatch.delenv(variable, raising=False)
    for cached in (registry._found, choosing._warn_once):
        cached.cache_clear()
    yield
    for cached in (registry._found, choosing._warn_once):
        cached.cache_clear()


def test_it_is_said_once_what_installing_it_would_give(without_llvmlite, caplog):
    X = np.ones((8, 2))
    with caplog.at_level(logging.WARNING, logger="gdkernels"):
        for _ in range(2):
            mlp = gd.MLP([2, 1], seed=0)
            history = mlp.fit(X, X[:, 0], epochs=1)
            assert (history.backend, history.origin) == ("numpy", "definition")
            assert 'pip install "gdkernels[numba]"' in history.reason
    said = [r.message for r in caplog.records if "numba" in r.message]
    assert len(said) == 1
    assert "several times as fast" in said[0]


def test_asking_for_it_fails_loudly(without_llvmlite):
    with pytest.raises(gd.BackendError, match="llvmlite must be installed"):
        gd.MLP([2, 1], backend="numba")
