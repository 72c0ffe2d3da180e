"""The self-check of whatever a backend compiles: a stranger's too, where somebody asks for it."""

import array_api_compat.numpy
import numpy as np
import pytest
from gdkernels_numpy import NumPyBackend

import gdkernels as gd
from gdkernels.backend import Executable
from gdkernels.backend.definition_executable import DefinitionExecutable
from gdkernels.checking import check, ways
from gdkernels.checking.reference import rows_to_check
from gdkernels.errors import BackendError, InputError

X = np.linspace(-1, 1, 80, dtype=np.float32)[:, None]
Y = np.sin(3 * X)


class Stranger(NumPyBackend):
    """Compiles something whose every step adds `off` to a weight."""

    contract = 2
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
        state.parameters["W0"][0, 0] += self._backend.off
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


# ---- what it costs: the bound of 0.3 s needs a clock and a machine; what it is made of is counted here


class Counting:
    """NumPy's namespace, which adds up the FLOPs of products."""

    def __init__(self):
        self.flops = 0

    def __getattr__(self, name):
        return getattr(array_api_compat.numpy, name)

    def matmul(self, a, b):
        self.flops += 2 * a.shape[0] * a.shape[1] * b.shape[1]
        return array_api_compat.numpy.matmul(a, b)


@pytest.fixture
def counted(monkeypatch):
    """Return what counts the FLOPs of the definition in a check, and a list of what it was computed in."""
    monkeypatch.setenv("GDKERNELS_CHECK", "always")
    counting, computed, right = Counting(), [], check.SelfCheck._reference
    monkeypatch.setattr(check.SelfCheck, "_namespace", lambda self, parameters: counting)
    monkeypatch.setattr(
        check.SelfCheck,
        "_reference",
        lambda self, call, sample, precision, xp: (
            computed.append(precision) or right(self, call, sample, precision, xp)
        ),
    )
    return counting, computed


@pytest.mark.parametrize("batch", [16, 3000])
@pytest.mark.parametrize(
    ("widths", "rows"),
    [((8, 64, 64, 64, 4), 640), ((256, 256, 256, 256), 640), ((256, 512, 512, 256), 317), ((64, 1400, 1300, 8), 86)],
)
def test_the_definition_does_two_steps_of_a_gigaflop_each_whatever_the_batch(stranger, counted, widths, rows, batch):
    counting, computed = counted
    random = np.random.default_rng(0)
    records = 3000 if batch == 3000 else 700  # a batch that is a step, or many steps; both are more than are checked
    x = random.standard_normal((records, widths[0]), dtype=np.float32)
    mlp = gd.MLP(widths, seed=0, backend=stranger)
    assert rows_to_check(widths) == rows
    mlp.fit(x, np.tanh(x[:, : widths[-1]]), epochs=1, batch_size=batch, progress=False)
    assert computed in (["float64"], ["float64", "float32"]), "the yardstick where it decides"
    assert 0 < counting.flops <= 2 * 1.001e9 * len(computed)


@pytest.mark.parametrize(("off", "wanted"), [(0.0, ["float64"]), (0.1, ["float64", "float32"])])
def test_the_yardstick_is_computed_where_it_decides(stranger, counted, off, wanted):
    stranger.off = off
    fit(stranger)
    assert counted[1] == wanted


class Placed:
    """A network's parameters of which only the shapes are asked for."""

    def __init__(self, shape):
        self.shape = shape


@pytest.mark.parametrize(("width", "on_device"), [(1400, False), (1500, True)])
def test_above_two_million_parameters_the_definition_runs_on_the_device(stranger, width, on_device):
    from gdkernels.backend import Plan

    xp = object()
    backend = type("There", (), {"xp": xp})()
    found = check.SelfCheck(backend, None, Plan("there", "there:0", "float32"))
    assert (found._namespace({"W": Placed((width, width))}) is xp) == on_device
