"""Work that does not fit into memory is announced, split with the same result, or refused with what would fit."""

import logging
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest

import gdkernels as gd
from gdkernels.dispatch.footprint import rows_that_fit
from gdkernels.dispatch.workload import Workload
from gdkernels.errors import InputError
from gdkernels.system import control_groups, memory
from gdkernels.system.memory import Room, gigabytes, parse_bytes

RNG = np.random.default_rng(2)
X = RNG.standard_normal((300, 6)).astype(np.float32)
Y = X[:, :2] ** 2
WEIGHTS = RNG.random(300).astype(np.float32)


@pytest.fixture
def room(monkeypatch):
    """Return a function that leaves so many bytes."""
    monkeypatch.setattr("gdkernels.dispatch.footprint._SMALL", 0)
    monkeypatch.setattr("gdkernels.dispatch.footprint._SLACK", 0)
    return lambda size: monkeypatch.setattr(memory, "room", lambda: Room(size, "what the test leaves"))


@pytest.mark.parametrize(("text", "size"), [("512MB", 512_000_000), ("1.5 gb", 1_500_000_000), ("2KiB", 2048), (7, 7)])
def test_sizes(text, size):
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1", 0, True, "1PB", None, 1.5])
def test_what_is_no_size(text):
    with pytest.raises(InputError, match="memory must be a size as in '512MB', '1.5GB' or '2GiB'"):
        parse_bytes(text)


def test_sizes_in_words():
    assert [gigabytes(n) for n in (1.5e10, 2.34e8, 999)] == ["15 GB", "234 MB", "0.999 kB"]


def test_the_least_of_all_limits_counts(tmp_path, monkeypatch):
    for name, text in {
        "meminfo": "MemTotal: 8000 kB\nMemAvailable: 6000 kB\n",
        "status": "VmHWM: 150 kB\nVmSize: 500 kB\nVmData: 300 kB\n",
        "statm": "125 25 5 1 0 60 0\n",
        "cgroup": "0::/a/b\n",
    }.items():
        (tmp_path / name).write_text(text)
    groups = tmp_path / "groups"
    (groups / "a" / "b").mkdir(parents=True)
    for attribute, name in (
        ("_MEMINFO", "meminfo"),
        ("_STATUS", "status"),
        ("_PAGES", "statm"),
    ):
        monkeypatch.setattr(memory, attribute, tmp_path / name)
    monkeypatch.setattr(control_groups, "_MEMBERSHIP", tmp_path / "cgroup")
    monkeypatch.setattr(control_groups, "_MOUNTED", groups)
    monkeypatch.setattr(memory, "_resource_limits", list)
    assert memory.room() == Room(6000 * 1024, "what the machine has left")
    assert memory.limit() == Room(8000 * 1024, "the memory of the machine")
    assert (memory.used(), memory.peak()) == (25 * os.sysconf("SC_PAGE_SIZE"), 150 * 1024)
    (groups / "a" / "b" / "memory.max").write_text("max\n")
    (groups / "a" / "memory.max").write_text("5000000\n")
    (groups / "a" / "memory.current").write_text("4000000\n")
    (groups / "a" / "memory.stat").write_text("anon 1\ninactive_file 500000\n")
    assert memory.room() == Room(1_500_000, "what the control group has left")
    assert memory.limit() == Room(5_000_000, "the limit of the control group")
    monkeypatch.setattr(memory, "_resource_limits", lambda: [("RLIMIT_DATA", 1_000_000)])
    assert memory.room() == Room(1_000_000 - 300 * 1024, "what RLIMIT_DATA leaves")
    assert memory.limit() == Room(1_000_000, "RLIMIT_DATA")


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"loss": "huber", "reduction": "sum", "optimizer": gd.SGD(1e-4, momentum=0.9)},
        {"l2": 0.1, "l2_in_loss": True, "clip_norm": 0.5, "optimizer": "adamw"},
        {"l2": 0.1, "optimizer": "rmsprop"},
        {"weighted": True, "l2": 0.1, "l2_in_loss": True},
    ],
)
def test_a_batch_that_does_not_fit_is_split_with_the_same_result(backend, settings, room, caplog):
    settings = dict(settings)
    weights = WEIGHTS if settings.pop("weighted", False) else None

    def fit():
        mlp = gd.MLP([6, 10, 2], seed=1, backend=backend, activation="tanh")
        trainer = gd.Trainer(mlp, batch_size=128, **settings)
        history = trainer.fit(X, Y, epochs=3, sample_weight=weights, gradient_norm=True)
        return mlp, history

    whole, expected = fit()
    room({"numpy": 60_000, "numba": 30_000}[backend])
    split, history = fit()
    rows = history.plan.choices["rows_at_a_time"]
    assert 1 < rows < 64
    assert (
        f"a batch of 128 does not fit into memory: its gradient is summed over parts of at most {rows}" in caplog.text
    )
    assert history.origin == expected.origin
    for a, b in zip(split.parameters, whole.parameters, strict=True):
        np.testing.assert_allclose(a.W, b.W, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(a.b, b.b, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(history.loss, expected.loss, rtol=1e-5)
    np.testing.assert_allclose(history.gradient_norm, expected.gradient_norm, rtol=1e-4)


@dataclass(frozen=True)
class WideInside(gd.blocks.Block):
    """Few outputs, of many numbers on the way."""

    def parameters(self, inputs):
        weights = gd.blocks.InitialWeights()
        return {"A": gd.blocks.Parameter((inputs, 1000), weights), "B": gd.blocks.Parameter((1000, 2), weights)}

    def outputs(self, inputs):
        return 2

    def __call__(self, p, a, *, xp, random=None):
        return xp.tanh(a @ p["A"]) @ p["B"]


def test_what_a_block_computes_on_its_way_counts(room):
    room(1_000_000)  # of which its inputs and outputs alone take a few per cent
    history = gd.Network(WideInside(), 6, seed=0, backend="numba").fit(X, Y, epochs=1, batch_size=256)
    assert history.origin == "compiled"
    assert 1 < history.plan.choices["rows_at_a_time"] < 256


def test_what_a_step_takes_once_leaves_room_for_fewer_records(room):
    network = gd.Network(WideInside(), 6, seed=0)
    work = Workload(network.network.structure.program(), 256, 256)
    room(1_000_000)
    assert rows_that_fit(work, "float32", compiled=True, workspace=lambda rows: 800_000 + 10_000 * rows) == 20
    with pytest.raises(InputError, match="needs 1.2 MB for a single record"):
        rows_that_fit(work, "float32", compiled=True, workspace=lambda rows: 1_200_000)


def test_where_not_even_a_record_fits(room):
    mlp = gd.MLP([6, 10, 2], seed=0, backend="numpy")
    room(6_000)
    with pytest.raises(
        InputError, match=r"a step of 6-10-2 needs \S+ kB for a single record, but only 6 kB \(what the test"
    ):
        mlp.fit(X, Y, epochs=1)


def test_a_network_too_large_is_refused_before_it_is_drawn(room, monkeypatch):
    monkeypatch.setattr("gdkernels.network.structure.initial_values", None)
    room(10**9)
    with pytest.raises(InputError) as error:
        gd.MLP([1000, 40_000, 40_000, 10])
    assert "1000-40000-40000-10 has 1,640,480,010 parameters and needs 25.9 GB to be drawn, but only 1 GB" in str(
        error.value
    )
    fits = tuple(map(int, re.search(r"; ([\d-]+) would fit", str(error.value))[1].split("-")))
    assert (fits[0], fits[-1]) == (1000, 10)
    assert fits[1] == fits[2]
    needed = [
        8 * (sum((m + 1) * n for m, n in pairwise(s)) + s[1] * s[2])
        for s in (fits, (1000, fits[1] + 40, fits[2] + 40, 10))
    ]
    assert needed[0] <= 10**9 < needed[1]
    with pytest.raises(InputError, match=r"; 4-(\d{8})-1 would fit"):  # less than a thousandth of what was asked for
        gd.MLP([4, 10**20, 1])
    with pytest.raises(InputError, match="its inputs and outputs alone are too many"):
        gd.MLP([10**6, 10**6])


def test_training_that_needs_too_much_is_refused_before_it_begins(room, caplog):
    mlp = gd.MLP([6, 100, 2], seed=0, backend="numpy")
    before = mlp.parameters[0].W
    room(20_000)
    with pytest.raises(
        InputError, match=r"6-100-2 has 902 parameters and needs 50.5 kB to be trained with Adam, .*fit"
    ):
        mlp.fit(X, Y, epochs=1)
    np.testing.assert_array_equal(mlp.parameters[0].W, before.astype(np.float32))
    room(500_000)
    mlp.fit(X, Y, epochs=1, batch_size=1)


SCRIPT = """
import sys
import numpy as np
import gdkernels as gd
from gdkernels.system import control_groups, memory

backend, records, hidden, batch = sys.argv[1], *map(int, sys.argv[2:])
mlp = gd.MLP([20, hidden, hidden, 5], seed=0, activation="gelu", backend=backend)
x = np.ones((records, 20), "f4")
history = mlp.fit(x, x[:, :5], epochs=2, batch_size=batch, validation=0.2, patience=1, metrics=["r2"])
print(history.memory, memory.peak())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells how much memory a process has had")
@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize(("records", "hidden", "batch"), [(20_000, 64, 10_000), (2_000, 1000, 64)])
def test_the_peak_is_what_was_said_before(backend, records, hidden, batch):
    arguments = [sys.executable, "-c", SCRIPT, backend, *map(str, (records, hidden, batch))]
    said, had = map(int, subprocess.run(arguments, capture_output=True, text=True, check=True).stdout.split())
    assert had < said < 3 * had


def test_it_is_said_before_training(caplog):
    caplog.set_level(logging.INFO, "gdkernels")

    def first(epoch):
        assert "memory: at most" in caplog.text

    history = gd.MLP([6, 10, 2], seed=1, backend="numpy").fit(X, Y, epochs=1, callbacks=[first])
    assert history.as_dict()["memory"] == history.memory > memory.used() / 2
