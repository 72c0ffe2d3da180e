"""MLP and Trainer on a device that NumPy cannot read: nothing is copied to the host behind anybody's back."""

import array_api_strict
import numpy as np
import pytest
from current_device import CurrentDeviceBackend
from strict_backend import StrictBackend

import gdkernels as gd

RNG = np.random.default_rng(4)
X = RNG.standard_normal((41, 3)).astype(np.float32)
Y = (X[:, :1] * X[:, 1:2]).astype(np.float32)
LABELS = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0)
SETTINGS = {"epochs": 4, "batch_size": 8, "optimizer": gd.Adam(0.01), "gradient_norm": True, "clip_norm": 5.0}


def on_device(a):
    return array_api_strict.asarray(a, device=array_api_strict.Device("device1"))


def to_numpy(a):
    assert a.device == array_api_strict.Device("device1")
    return np.asarray(a.to_device(array_api_strict.Device("CPU_DEVICE")))


def network(**keywords):
    return gd.MLP([3, 8, 1], seed=0, activation="tanh", **keywords)


def test_training_on_the_device_agrees_with_numpy():
    there = network(backend=StrictBackend(), device="device1")
    here = network(backend="numpy")
    a = there.fit(on_device(X), on_device(Y), validation=0.2, patience=3, metrics=["r2"], **SETTINGS)
    b = here.fit(X, Y, validation=0.2, patience=3, metrics=["r2"], **SETTINGS)
    assert (a.backend, a.device, a.origin) == ("strict", "device1", "definition")
    assert a.validation_loss == pytest.approx(b.validation_loss, rel=1e-5)
    assert a.gradient_norm == pytest.approx(b.gradient_norm, rel=1e-5)
    assert a.epochs[-1].metrics["r2"] == pytest.approx(b.epochs[-1].metrics["r2"], rel=1e-4)
    np.testing.assert_allclose(to_numpy(there.predict(on_device(X))), here.predict(X), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        to_numpy(there.gradient(on_device(X), on_device(Y))[0].W), here.gradient(X, Y)[0].W, rtol=1e-3, atol=1e-6
    )
    assert there.loss(on_device(X), on_device(Y)) == pytest.approx(here.loss(X, Y), rel=1e-5)


def test_data_from_the_host_is_moved_and_predictions_come_back():
    mlp = gd.MLP([3, 8, 3], seed=0, backend=StrictBackend(), device="device1")
    mlp.fit(X, LABELS, epochs=2, loss="cross_entropy")
    assert isinstance(mlp.predict(X), np.ndarray)
    np.testing.assert_array_equal(to_numpy(mlp.predict(on_device(X))), mlp.predict(X))
    with pytest.raises(gd.InputError, match="Y holds 7 in row 0"):
        mlp.fit(X, LABELS + 7, epochs=1, loss="cross_entropy")
    with pytest.raises(gd.InputError, match="X holds nan in row 40, column 2"):
        mlp.predict(np.where(np.arange(123).reshape(41, 3) == 122, np.nan, X))


def test_a_model_moves_with_what_its_optimizer_carries(tmp_path):
    mlp, stayed = network(), network(backend="numpy")
    assert mlp.to("device1", backend=StrictBackend()) is mlp
    mlp.fit(X, Y, **SETTINGS)
    mlp.save(tmp_path / "m.safetensors")
    mlp.to("cpu", backend="numpy")
    mlp.fit(X, Y, **SETTINGS)
    stayed.fit(X, Y, **SETTINGS)
    stayed.fit(X, Y, **SETTINGS)
    np.testing.assert_allclose(mlp.parameters[0].W, stayed.parameters[0].W, rtol=1e-4, atol=1e-6)
    loaded = gd.load(tmp_path / "m.safetensors", backend=StrictBackend(), device="CPU_DEVICE")
    assert loaded.predict(X).shape == (41, 1)
    assert loaded.device == "CPU_DEVICE"


def test_everything_runs_with_the_device_as_the_current_one():
    mlp = gd.MLP([3, 8, 3], seed=0, backend=CurrentDeviceBackend())
    mlp.fit(X, LABELS, validation=0.2, patience=2, metrics=["accuracy"], loss="cross_entropy", starts=2, **SETTINGS)
    trainer = gd.Trainer(mlp, loss="cross_entropy")
    assert trainer.epoch(X, LABELS) > 0
    assert mlp.predict(X).shape == (41,)
    assert mlp.predict_proba(X).shape == (41, 3)
    assert mlp.loss(X, LABELS) > 0
    assert mlp.gradient(X, LABELS)[0].W.shape == (3, 8)
    mlp.set_parameters(mlp.parameters)
    backend = CurrentDeviceBackend()
    several = [gd.MLP([3, 8, 3], seed=k, backend=backend) for k in range(2)]
    rows, how = [[*range(20)], None], {"settings": {"loss": "cross_entropy"}, "sample_weight": np.ones(41)}
    gd.fit_many(several, X, LABELS, epochs=2, rows=rows, validation=(X, LABELS), patience=1, **how)
    gd.fit_many(several, X, LABELS, epochs=2, rows=rows, **how)


def test_a_device_that_the_backend_does_not_reach_is_refused():
    class OnGPU:
        device = "cuda:0"

        def __dlpack_device__(self):
            return (2, 0)

        def __dlpack__(self, **_):
            raise AssertionError("copied behind our back")

    with pytest.raises(gd.InputError, match="X is on cuda:0 and would have to be copied to the host"):
        network(backend="numpy").predict(OnGPU())


def test_tensors_of_torch_are_data_whatever_their_type_and_history():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    x = torch.linspace(-1, 1, 24).reshape(8, 3)
    plain = gd.MLP([3, 2, 1], seed=0, backend="numpy").predict(x)
    for given in (x.clone().requires_grad_(), torch.nn.Parameter(x)):
        mlp = gd.MLP([3, 2, 1], seed=0)
        assert torch.allclose(mlp.predict(given), plain, atol=1e-6)
        assert mlp.backend in ("numba", "numpy")  # not torch's own namespace, as for what no other reaches
    half = gd.MLP([3, 2, 1], seed=0, backend="numpy").predict(x.bfloat16())
    assert torch.allclose(half, gd.MLP([3, 2, 1], seed=0, backend="numpy").predict(x.bfloat16().float()))
    with pytest.raises(gd.InputError, match=r"X is a sparse tensor of torch; pass X\.to_dense"):
        gd.MLP([3, 2, 1]).predict(x.to_sparse())
    for module in (torch.nn.Tanh(), torch.relu):
        with pytest.raises(gd.GdkernelsError, match="'xp'"):
            gd.MLP([3, 2, 1], activation=module)
    with pytest.raises(gd.TraceError, match=r"torch\.tanh cannot be traced .*; use functions of xp"):
        gd.MLP([3, 2, 1], activation=lambda z, *, xp: torch.tanh(z))


def test_bfloat16_of_jax_is_a_number():
    jnp = pytest.importorskip("jax.numpy", reason="JAX is not installed")
    x = jnp.linspace(-1, 1, 24).reshape(8, 3).astype(jnp.bfloat16)
    found = gd.MLP([3, 2, 1], seed=0, backend="numpy").predict(x)
    wanted = gd.MLP([3, 2, 1], seed=0, backend="numpy").predict(np.asarray(x, np.float32))
    np.testing.assert_array_equal(np.asarray(found), wanted)
