"""Many models on CUDA: on a CTA of their own in one launch where they fit, one after the other where they do not."""

import numpy as np
import pytest
from gdkernels_cupy import choice
from gdkernels_cupy.cuda.errors import DeviceMemoryError
from gdkernels_cupy.persistent.launch_device import DeviceProperties
from host_runs import OnHost
from persistent_twin import TwinDevice, TwinKernels

import gdkernels as gd
from gdkernels.checking import ways
from gdkernels.system.hashing import sha256

RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((60, 5)).astype(np.float32)
Y = np.sin(X[:, :2]) + 0.1 * X[:, 2:4]


class Hopper(OnHost):
    """A device with matrix units; its persistent kernels run on their twin."""

    precisions = ("float32", "bfloat16")

    def devices(self):
        return ["cuda:0"]


@pytest.fixture
def launches(host, monkeypatch, made):
    """Return the numbers of CTAs of each launch that trains, on their own models."""
    counts, launch = [], TwinKernels.launch

    def noted(self, name, ctas, shared_bytes, arguments, *, together):
        if name == "train_many":
            counts.append(ctas)
        return launch(self, name, ctas, shared_bytes, arguments, together=together)

    monkeypatch.setattr(TwinKernels, "launch", noted)
    monkeypatch.setattr(choice, "CudaLaunchDevice", lambda number: TwinDevice(made))
    monkeypatch.setattr(choice, "properties_of", lambda number: DeviceProperties(90, 232448))
    monkeypatch.setattr(choice, "_free_on", lambda number: 1 << 30)
    ways._warn_once.cache_clear()
    return counts


def models(count, widths=(5, 8, 2), precision="bfloat16"):
    return [gd.MLP(widths, seed=k, backend=Hopper(), precision=precision) for k in range(count)]


def bits(model):
    arrays = model.network.host_parameters()
    return sha256(b"".join(np.asarray(a, np.float32).tobytes() for a in arrays.values())).hexdigest()


def settings(k):
    return {"optimizer": gd.SGD(0.01, momentum=0.5 + 0.1 * k), "batch_size": 16 + 8 * k}


def test_fits_that_nobody_looks_at_are_one_launch(launches):
    many, given = models(4), [settings(k) for k in range(4)]
    found = gd.fit_many(many, X, Y, epochs=3, settings=given)
    assert launches == [4]
    assert {history.plan.choices["kernel"] for history in found} == {"narrow"}
    assert all(history.plan.choices["many"] and history.plan.choices["ctas"] == 1 for history in found)
    assert all("each model has a CTA of its own" in history.reason for history in found)
    launches.clear()
    (pair, again) = models(4)[1:3], [settings(k) for k in (1, 2)]
    gd.fit_many(pair, X, Y, epochs=3, settings=again)
    assert launches == [2]
    assert list(map(bits, pair)) == list(map(bits, many[1:3])), "whatever is trained beside a model"


def test_fits_that_are_looked_at_meet_after_each_epoch(launches):
    """Each stops when it would stop alone, and goes on to its own best epoch."""
    held_out = X[40:], Y[40:]
    given = [{**settings(k), "optimizer": gd.SGD([0.01, 1.0, 0.02][k])} for k in range(3)]
    many = models(3)
    found = gd.fit_many(many, X[:40], Y[:40], epochs=5, settings=given, validation=held_out, patience=2)
    lengths = [len(history.epochs) for history in found]
    assert min(lengths) < max(lengths), "one has stopped before the others"
    assert launches == [sum(n > k for n in lengths) for k in range(max(lengths))]
    (other,) = models(3)[2:]
    launches.clear()
    pair = models(1)[0], other
    alone = gd.fit_many(pair, X[:40], Y[:40], epochs=5, settings=[given[0], given[2]], validation=held_out, patience=2)
    assert [history.validation_loss for history in alone] == [found[k].validation_loss for k in (0, 2)]
    assert list(map(bits, pair)) == [bits(many[0]), bits(many[2])]


def test_a_model_that_diverges_disturbs_no_other(launches):
    many = models(3)
    given = [{"optimizer": gd.SGD(rate), "batch_size": 16} for rate in (0.01, 1e30, 0.02)]
    found = gd.fit_many(many, X, Y, epochs=3, settings=given)
    assert [history.stop.reason.name for history in found] == ["ALL_EPOCHS", "DIVERGED", "ALL_EPOCHS"]
    pair = models(3)[::2]
    gd.fit_many(pair, X, Y, epochs=3, settings=given[::2])
    assert list(map(bits, pair)) == [bits(many[0]), bits(many[2])]


@pytest.mark.parametrize(
    ("widths", "precision", "why"),
    [
        ((5, 70, 2), "bfloat16", "a layer has 70 units, at most 64 stay on the chip"),
        ((5, 8, 2), "float32", "in float32 it is used only where it has been measured"),
    ],
)
def test_those_that_do_not_fit_are_a_batch_and_say_why(launches, widths, precision, why):
    """Of those that differ in numbers alone: each of the others is one by itself."""
    given = [{**settings(k), "batch_size": size} for k, size in enumerate((16, 16, 20))]
    many = models(3, widths, precision)
    found = gd.fit_many(many, X, Y, epochs=2, settings=given)
    assert launches == []
    assert {history.plan.choices["kernel"] for history in found} == {"batches"}
    told = f", as no CTA has one of its own ({why}"
    assert all(f"2 models of one structure are a batch{told}" in history.reason for history in found[:2])
    assert f"a batch of one model{told}" in found[2].reason
    assert "no other differs from it in numbers alone, such as rates, and has its batch size" in found[2].reason
    pair = models(3, widths, precision)[1:]
    gd.fit_many(pair, X, Y, epochs=2, settings=given[1:])
    assert list(map(bits, pair)) == list(map(bits, many[1:])), "whatever is trained beside a model"


def test_where_memory_is_short_fewer_train_at_a_time(launches, monkeypatch):
    """By what is free beforehand, or where an allocation fails all the same."""
    many, given = models(4), {"optimizer": gd.SGD(0.01), "batch_size": 16}
    gd.fit_many(many, X, Y, epochs=2, settings=given)
    zeros = TwinDevice.zeros

    def short(device, count, dtype):
        if dtype == "float32" and count > 300:  # the parameters of more than one model
            raise DeviceMemoryError("as planted")
        return zeros(device, count, dtype)

    for free, allocating in ((1 << 30, short), (1, zeros)):
        launches.clear()
        monkeypatch.setattr(choice, "_free_on", lambda number, free=free: free)
        monkeypatch.setattr(TwinDevice, "zeros", allocating)
        again = models(4)
        gd.fit_many(again, X, Y, epochs=2, settings=given)
        assert launches == [1, 1, 1, 1]
        assert list(map(bits, again)) == list(map(bits, many))


def test_a_kernel_that_is_wrong_here_gives_way_and_the_history_says_why(launches, made, monkeypatch):
    def change(text):
        return text.replace("= rounded(new", "= rounded(0.5f * new") if "train_many" in text else text

    monkeypatch.setattr(choice, "CudaLaunchDevice", lambda number: TwinDevice(made, change=change))
    monkeypatch.delenv("GDKERNELS_CHECK")
    found = gd.fit_many(models(2), X, Y, epochs=2, settings={"optimizer": gd.SGD(0.01), "batch_size": 16})
    assert set(launches) == {1}, "those of the check"
    assert {history.plan.choices["kernel"] for history in found} == {"batches"}, "which are checked too"
    assert all("no CTA has one of its own (the loss is off by" in history.reason for history in found)
