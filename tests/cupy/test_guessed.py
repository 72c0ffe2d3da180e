"""The CUDA backend where gdkernels chose it: what it cannot do, the next backend does, from the same state."""

import numpy as np
import pytest
import standin
from gdkernels_cupy import choice
from gdkernels_cupy.cuda import cublaslt, trial
from gdkernels_cupy.cuda.errors import DeviceFailedError
from plugins import working

import gdkernels as gd
from gdkernels.checking import ways
from gdkernels.dispatch import preference
from gdkernels.errors import BackendError

RANDOM = np.random.default_rng(4)
X = RANDOM.standard_normal((40, 5)).astype(np.float32)
Y = np.sin(X[:, :3])

ON_HOST = """
from host_runs import OnHost
class Backend(OnHost):
    precisions = ("float64", "float32", "tf32", "bfloat16")
    def compile(self, program, plan):
        from gdkernels_cupy import CuPyBackend
        return CuPyBackend.compile(self, program, plan)
"""


@pytest.fixture(autouse=True)
def guessed(host, plugins, monkeypatch):
    """Let the stand-in be the best backend that is installed, whatever the work."""
    monkeypatch.setattr(preference, "UNMEASURED_FLOPS", 0.0)
    monkeypatch.setattr(trial, "tried_elsewhere", dict.fromkeys)  # the stand-in is in this process alone
    plugins.add("cupy", ON_HOST)
    plugins.add("numpy", working("numpy", precisions=["float64", "float32", "bfloat16"]))
    ways._warn_once.cache_clear()
    return host


def fit(backend="auto", epochs=3, **settings):
    mlp = gd.MLP((5, 8, 3), seed=0, backend=backend, **settings)
    return mlp, mlp.fit(X, Y, epochs=epochs, batch_size=16)


def same(one, other):
    for mine, theirs in zip(one.parameters, other.parameters, strict=True):
        np.testing.assert_allclose(mine.W, theirs.W, rtol=1e-4, atol=1e-6)


def test_without_a_failure_it_is_used():
    mlp, history = fit()
    assert (mlp.backend, mlp.device, history.origin) == ("cupy", "cuda:0", "compiled")


def test_where_memory_runs_out_for_good_the_next_backend_goes_on(guessed, caplog):
    mlp, wanted = (gd.MLP((5, 8, 3), seed=0, backend=b) for b in ("auto", "numpy"))
    assert mlp.fit(X, Y, epochs=1, batch_size=16).backend == "cupy"
    guessed.fail_after = 0
    history = mlp.fit(X, Y, epochs=2, batch_size=16)
    wanted.fit(X, Y, epochs=1, batch_size=16)
    wanted.fit(X, Y, epochs=2, batch_size=16)
    assert (mlp.backend, history.backend) == ("numpy", "numpy")
    assert "(cupy failed: " in history.reason
    assert "backend 'cupy' failed: " in caplog.text
    same(mlp, wanted)


def test_where_nothing_computes_rightly_the_next_backend_goes_on(guessed, monkeypatch, caplog):
    """In bfloat16, which the definition on CuPy has not, there is nothing below the engines."""
    monkeypatch.delenv("GDKERNELS_CHECK")

    def wrong(*given):
        def work():
            standin.matmul(*given)
            out = standin.matrix(given[2][2], given[3][2])
            out[0, 0] += np.float32(1.0).astype(out.dtype) if out.dtype != np.uint16 else np.uint16(0x80)

        guessed.execute(work)

    monkeypatch.setattr(cublaslt, "matmul", wrong)
    mlp, history = fit(precision="bfloat16")
    assert history.backend == "numpy"
    assert "cupy failed: nothing computes this network rightly in bfloat16 on cuda:0" in history.reason
    same(mlp, fit("numpy", precision="bfloat16")[0])
    with pytest.raises(BackendError, match="nothing computes this network rightly in bfloat16"):
        fit("cupy", precision="bfloat16")


def test_a_device_that_has_failed_for_good_ends_training_with_its_own_error(monkeypatch):
    """Its memory is lost, and the parameters of the last epoch with it."""
    mlp, _ = fit(epochs=1)

    def dead(*given, **options):
        raise DeviceFailedError("cuda:0 has failed: restart the process")

    monkeypatch.setattr(choice.ChosenExecutable, "run", dead)
    monkeypatch.setattr(type(mlp.network.binding.backend), "to_numpy", dead)
    with pytest.raises(DeviceFailedError, match="restart the process"):
        mlp.fit(X, Y, epochs=1, batch_size=16)
