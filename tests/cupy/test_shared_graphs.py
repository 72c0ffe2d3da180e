"""CUDA graphs on the shards of ranks: the bits depend on the shards alone, with NCCL captured or sums on the host."""

from dataclasses import replace

import numpy as np
import pytest
from gdkernels_cupy import shards
from gdkernels_cupy.cuda import device as device_module
from gdkernels_cupy.cuda import nccl
from gdkernels_cupy.graphs import calls
from host_cupy import host_of_rank
from host_runs import OnHost, Run
from thread_group import on_ranks

import gdkernels as gd
from gdkernels.checking.check import Call
from gdkernels.groups import SerialGroup
from gdkernels.groups.sharding import Sharding

STREAM = np.random.default_rng(0)
X = STREAM.standard_normal((53, 6)).astype(np.float32)  # a last batch of 13, and shards of several sizes
Y = np.stack([np.sin(X[:, 0]), X[:, 1] * X[:, 2], X[:, 3]], axis=1)
# Not more: each list is compiled by the host's compiler, and others are tested by their interpreter.
SETTINGS = {
    "clip_norm": 0.3,
    "gradient_norm": True,
    "sample_weight": STREAM.random(len(X)),
    "dropout": 0.3,
    "l2": 0.01,
}


def trained(group, shards=3, **settings):
    network = {"dropout": settings.pop("dropout", 0.0)}
    device = 0 if group is None else 1 + group.rank  # each thread has its own
    model = gd.MLP([6, 9, 3], seed=0, backend=OnHost(), device=f"cuda:{device}", **network)
    run = {"epochs": 2, "batch_size": 20, "optimizer": "sgd"} | settings
    history = model.fit(X, Y, group=group, shards=shards, progress=False, **run)
    bits = [np.asarray(a).tobytes() for a in model.network.host_parameters().values()]
    return bits, history.loss, history


@pytest.fixture
def ranks(host, tmp_path):
    def run(size, work):
        def of_rank(group):
            with host_of_rank(host.directory):
                return work(group)

        device_module._device.cache_clear()
        return on_ranks(size, of_rank)

    return run


@pytest.mark.parametrize("size", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_bits_depend_on_the_shards_alone(ranks, size):
    one = trained(None, **SETTINGS)
    assert one[2].plan.choices["kernel"] == "graphs"
    for found in ranks(size, lambda group: trained(group, **SETTINGS)):
        assert found[:2] == one[:2]
        assert (found[2].origin, found[2].ranks.shards) == ("compiled", 3)
    model = gd.MLP([6, 9, 3], seed=0, backend="numpy", dropout=0.3)
    settings = {name: value for name, value in SETTINGS.items() if name != "dropout"}
    losses = model.fit(X, Y, shards=3, epochs=2, batch_size=20, optimizer="sgd", progress=False, **settings).loss
    assert one[1] == pytest.approx(losses, rel=1e-5)


def test_where_a_rank_cannot_all_sum_on_the_host_and_say_why(ranks, monkeypatch):
    monkeypatch.setattr(
        shards.SharedGraphs, "_problem", lambda self, call: "it is wrong" if self._number == 2 else None
    )
    settings = {"epochs": 1, "batch_size": 53, "optimizer": "sgd"}
    wanted = gd.MLP([6, 9, 3], seed=0, backend="numpy").fit(X, Y, shards=2, progress=False, **settings).loss
    for _, losses, history in ranks(2, lambda group: trained(group, 2, **settings)):
        assert history.reason == "as asked for; sums go over the host, because of rank 1: it is wrong"
        assert losses == pytest.approx(wanted, rel=1e-5)


def test_ranks_that_nccl_cannot_serve_are_told_why(ranks, monkeypatch):
    def problem(group):
        return nccl.problem_of_ranks(group, 1 + group.rank)

    assert ranks(3, problem) == [None] * 3
    with monkeypatch.context() as patch:
        patch.setattr(nccl, "describe", lambda number: {"uuid": "the same" if number > 1 else "other"})
        assert all("ranks 1 and 2 share a GPU of " in told for told in ranks(3, problem))
    monkeypatch.setattr(nccl, "_OLDEST", 10**6)
    assert ranks(2, problem)[1].startswith("rank 0: NCCL 22707 is too old: pip install nvidia-nccl")


@pytest.mark.parametrize("method", ["exchange", "gather"])
def test_what_nccl_carries_is_checked(ranks, monkeypatch, method):
    def carried(group):
        gpu = device_module.device(1 + group.rank)
        return nccl.NcclRanks(group, gpu).problem(group, gpu)

    assert ranks(2, carried) == [None, None]
    monkeypatch.setattr(nccl.NcclRanks, method, lambda self, *arguments: None)
    assert ranks(2, carried) == ["NCCL does not bring what other ranks send"] * 2


def test_shards_are_checked_before_they_are_believed(host, monkeypatch):
    monkeypatch.setenv("GDKERNELS_CHECK", "always")
    run = Run("adam")
    call = Call(run.state, run.x, run.y, np.arange(len(run.x)), len(run.x), np.full(1, 0.01))

    def problem():
        plan = run.executable.plan
        return shards.SharedGraphs(run.case.program, plan, 0, Sharding(SerialGroup(), 3), run.backend)._problem(call)

    assert problem() is None
    add = calls._add  # planted: a shard is added to itself, in place of the next one
    monkeypatch.setattr(calls, "_add", lambda op, at: add(replace(op, source=op.target), at))
    assert "what is added to" in problem()
