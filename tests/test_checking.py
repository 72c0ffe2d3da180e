"""The self-check of whatever a backend compiles: a stranger's too, where somebody asks for it."""

import numpy as np
import pytest
from gdkernels_numpy import NumPyBackend

import gdkernels as gd
from gdkernels.backend import Executable
from gdkernels.backend.definition_executable import DefinitionExecutable
from gdkernels.checking import ways
from gdkernels.errors import BackendError, InputError

X = np.linspace(-1, 1, 80, dtype=np.float32)[:, None]
Y = np.sin(3 * X)


class Stranger(NumPyBackend):
    """Compiles something whose every step adds `off` to a weight."""

    off = 0.0
    fails = False

    def compile(self, program, plan):
        return _Compiled(self, DefinitionExecutable(self, program, plan))


class _Compiled(Executable):
    origin = "compiled"

    def __init__(self, backend, right):
        self._backend, self._right, self.plan = backend, right, right.plan

    def run(self, state, *given):
        if self._backend.fails:
            raise BackendError("as planted")
        found = self._right.run(state, *given)
        state.parameters[0].W[0, 0] += self._backend.off
        return found

    def predict(self, parameters, x):
        return self._right.predict(parameters, x) + self._backend.off


@pytest.fixture
def stranger():
    ways._warn_once.cache_clear()
    return Stranger()


def fit(backend):
    mlp = gd.MLP([1, 8, 1], seed=0, backend=backend)
    return mlp, mlp.fit(X, Y, epochs=2, batch_size=16)


def test_what_is_wrong_is_not_used_where_somebody_asks(stranger, monkeypatch, caplog):
    stranger.off = 0.1
    wrong, history = fit(stranger)
    assert (history.origin, caplog.text) == ("compiled", ""), "nobody asked"
    monkeypatch.setenv("GDKERNELS_CHECK", "always")
    mlp, history = fit(stranger)
    assert history.origin == "definition"
    assert "what numpy compiles is not used for 1-8-1 in float32 on cpu: what is added to W0 is off by" in caplog.text
    right, _ = fit("numpy")
    np.testing.assert_array_equal(mlp.parameters[0].W, right.parameters[0].W)
    assert not np.array_equal(wrong.parameters[0].W, right.parameters[0].W)
    np.testing.assert_array_equal(mlp.predict(X), right.predict(X))
    assert "its predictions are off by" in caplog.text


def test_what_fails_is_not_used_either(stranger, monkeypatch, caplog):
    stranger.fails = True
    monkeypatch.setenv("GDKERNELS_CHECK", "always")
    assert fit(stranger)[1].origin == "definition"
    assert "it fails here (as planted)" in caplog.text


def test_what_is_right_runs(stranger, monkeypatch, caplog):
    monkeypatch.setenv("GDKERNELS_CHECK", "always")
    mlp, history = fit(stranger)
    mlp.predict(X)
    assert (history.origin, caplog.text) == ("compiled", "")


def test_another_word_is_refused(stranger, monkeypatch):
    monkeypatch.setenv("GDKERNELS_CHECK", "sometimes")
    with pytest.raises(InputError, match=r"unknown GDKERNELS_CHECK 'sometimes'"):
        fit(stranger)
