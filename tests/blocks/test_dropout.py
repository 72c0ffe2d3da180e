"""Dropout: the same inputs are dropped on every namespace, backend, thread count, part of a batch and resumption."""

import shutil
from dataclasses import dataclass

import array_api_compat
import array_api_strict
import numpy as np
import pytest
from gdkernels_numba import NumbaBackend

import gdkernels as gd
from gdkernels import blocks
from gdkernels.backend import Plan, State
from gdkernels.backend.gradient_accumulation import AccumulatingExecutable
from gdkernels.backend.program import Program
from gdkernels.definition import losses
from gdkernels.definition.network import forward
from gdkernels.definition.objective import Objective
from gdkernels.definition.optimizers import SGD
from gdkernels.errors import InputError
from gdkernels.randomness import RandomNumbers, row_keys
from gdkernels.randomness.counter_based import mixed

RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((300, 5)).astype(np.float32)
Y = np.sin(X[:, :2]) + X[:, 2:4]
BLOCK = blocks.Sequential(blocks.Dense(40, "tanh"), blocks.Dropout(0.3), blocks.Dense(2))


def namespaces():
    import jax.numpy

    yield "numpy", np
    yield "strict", array_api_strict
    yield "jax", jax.numpy
    try:
        import torch
    except ImportError:
        return
    yield "torch", array_api_compat.array_namespace(torch.zeros(1))


def lowbias32(a):
    """C. Wellons' function on an unsigned number, as he writes it."""
    a = ((a ^ (a >> 16)) * 0x7FEB352D) & 0xFFFFFFFF
    a = ((a ^ (a >> 15)) * 0x846CA68B) & 0xFFFFFFFF
    return a ^ (a >> 16)


# ---- the numbers


@pytest.mark.parametrize(("name", "xp"), list(namespaces()), ids=lambda v: v if isinstance(v, str) else "")
def test_the_hash_is_the_published_one_in_every_namespace(name, xp):
    given = np.random.default_rng(1).integers(0, 1 << 32, 1000, dtype=np.uint32)
    given[:3] = 0, 1, 0xFFFFFFFF
    found = np.asarray(mixed(xp.asarray(given.view(np.int32))))
    assert found.dtype == np.int32
    assert found.view(np.uint32).tolist() == [lowbias32(int(a)) for a in given]


@pytest.mark.parametrize(("name", "xp"), list(namespaces()), ids=lambda v: v if isinstance(v, str) else "")
def test_every_namespace_draws_the_same(name, xp):
    keys, unit = row_keys(3, 7, 50, 16), np.arange(11, dtype=np.float32)
    wanted = RandomNumbers(keys).inside(2).uniform(unit, xp=np)
    found = RandomNumbers(xp.asarray(keys)).inside(2).uniform(xp.asarray(unit), xp=xp)
    assert np.array_equal(np.asarray(found), wanted)


def test_numbers_are_spread_evenly_and_do_not_follow_each_other():
    u = RandomNumbers(row_keys(1, 0, 4096, 128)).uniform(np.arange(64.0), xp=np)
    assert u.min() >= 0
    assert u.max() < 1
    counts = np.histogram(u, 256, (0, 1))[0]
    assert abs(((counts - counts.mean()) ** 2 / counts.mean()).sum() - 255) < 5 * (2 * 255) ** 0.5  # χ²
    for a, b in ((u[1:], u[:-1]), (u[:, 1:], u[:, :-1]), (u[128:], u[:-128]), (u[:, 32:], u[:, :32])):
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 5 / a.size**0.5


def test_numbers_differ_by_seed_step_place_block_and_unit():
    def drawn(seed=0, step=0, block=(), first=0):
        random = RandomNumbers(row_keys(seed, step, 8, 8, first))
        for number in block:
            random = random.inside(number)
        return random.uniform(np.arange(6.0), xp=np)

    some = [drawn(), drawn(seed=1), drawn(seed=1 << 32), drawn(step=1), drawn(step=1 << 32), drawn(first=8)]
    some += [drawn(block=(0,)), drawn(block=(1,)), drawn(block=(0, 0)), drawn(block=(0, 1)), drawn(block=(1, 0))]
    together = np.concatenate([u.ravel() for u in some])
    assert len(np.unique(together)) > 0.99 * len(together)


def test_the_keys_of_a_run_are_those_of_its_batches_and_of_their_parts():
    whole = row_keys(5, 10, 23, 8)
    batches = [row_keys(5, 10 + k, len(whole[8 * k : 8 * k + 8]), 8) for k in range(3)]
    assert np.array_equal(whole, np.concatenate(batches))
    parts = [row_keys(5, 10, 3, 3), row_keys(5, 10, 5, 5, first=3)]
    assert np.array_equal(whole[:8], np.concatenate(parts))


# ---- the block


def test_what_is_kept_is_as_large_on_average():
    a, drop = np.ones((2000, 30)), blocks.Dropout(0.25)
    p = drop.constants(30)
    out = drop(p, a, xp=np, random=RandomNumbers(row_keys(0, 0, 2000, 2000)))
    assert set(np.unique(out)) == {0.0, 1 / 0.75}
    assert out.mean() == pytest.approx(1.0, abs=4 * (0.25 / 0.75 / out.size) ** 0.5)
    assert drop(p, a, xp=np) is a
    assert blocks.Dropout(0.0)(p, a, xp=np, random=RandomNumbers(row_keys(0, 0, 2000, 2000))) is a


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1 - 2.0**-30, float("nan"), "much", True, None])
def test_a_rate_that_cannot_be_is_refused(rate):
    with pytest.raises(InputError, match=r"Dropout: rate must be a number of at least 0 and below 1"):
        blocks.Dropout(rate)
    if rate is not None:
        with pytest.raises(InputError, match="dropout must be|Dropout: rate must be"):
            gd.MLP([5, 8, 2], dropout=rate)


def test_only_training_drops():
    net = gd.Network(BLOCK, 5, seed=3, backend="numba")
    plain = blocks.Sequential(BLOCK.blocks[0], BLOCK.blocks[2])
    weights = {"W0": "W0", "b0": "b0", "W2": "W1", "b2": "b1"}
    bare = {weights[name]: a for name, a in net.parameters.items() if name in weights}
    assert np.allclose(net.predict(X), forward(plain, bare, X, xp=np), atol=1e-6)
    assert np.array_equal(net.predict(X), net.predict(X))
    before = net.loss(X, Y)
    assert net.fit(X, Y, epochs=1, batch_size=300, optimizer=SGD(1e-30)).loss[0] != pytest.approx(before, rel=5e-3)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_backends_and_threads_drop_the_same(precision):
    def trained(backend, **settings):
        net = gd.MLP([5, 40, 33, 2], dropout=0.4, seed=3, backend=backend, precision=precision)
        losses = net.fit(X, Y, epochs=3, batch_size=64, **settings).loss
        return losses, net.predict(X)

    one, other = trained("numpy"), trained("numba")
    close = {"rtol": 2e-5, "atol": 2e-5} if precision == "float32" else {"rtol": 1e-11, "atol": 1e-11}
    np.testing.assert_allclose(one[0], other[0], **close)
    np.testing.assert_allclose(one[1], other[1], **close)


def run(executable, program, **state):
    start = {n: np.array(a, np.float32) for n, a in gd.Network(BLOCK, 5, seed=3).parameters.items()}
    slots = {name: (np.zeros_like(start[name]),) for name in program.trained}
    now = State(start, slots, **state)
    steps = -(-len(X) // 64)
    executable.run(now, X, Y.astype(np.float32), np.arange(len(X)), 64, np.full(steps, 0.01))
    return np.concatenate([now.parameters[name].ravel() for name in program.trained])


def test_a_batch_in_parts_drops_what_the_whole_one_does():
    program = Program(BLOCK, 5, Objective(losses.sse), SGD(momentum=0.9))
    backend, plan = NumbaBackend(), Plan("numba", "cpu", "float32", {"threads": 1})
    whole = run(backend.compile(program, plan), program, seed=9)
    np.testing.assert_allclose(
        run(AccumulatingExecutable(backend, program, plan, 20), program, seed=9), whole, atol=1e-6
    )
    assert not np.allclose(run(backend.compile(program, plan), program, seed=10), whole, atol=1e-4)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_a_training_that_is_resumed_drops_as_if_it_had_not_stopped(tmp_path, backend):
    def run(folder):
        net = gd.MLP([5, 40, 2], dropout=0.3, seed=3, backend=backend)
        net.fit(X, Y, epochs=2, batch_size=32, checkpoint=folder, every="3 steps", keep=99, resume=True)
        return [a.tobytes() for a in net.parameters.values()]

    expected = run(tmp_path / "whole")
    kept = sorted((tmp_path / "whole").glob("step-*"))
    assert len(kept) > 4
    for checkpoint in kept[1::2]:
        folder = tmp_path / checkpoint.stem
        folder.mkdir()
        shutil.copy(checkpoint, folder)
        assert run(folder) == expected, checkpoint.name


def test_it_comes_back_from_its_file(tmp_path):
    net = gd.MLP([5, 8, 8, 2], dropout=0.3, residual=True, norm="layer", seed=3)
    net.fit(X, Y, epochs=1)
    net.save(tmp_path / "n.gd")
    again = gd.load(tmp_path / "n.gd")
    assert again.block == net.block
    assert again.block.blocks[1] == blocks.Dropout(0.3)
    assert np.array_equal(again.predict(X), net.predict(X))


# ---- blocks of your own


@dataclass(frozen=True)
class OnlyInTraining(blocks.Block):
    """Something else in training, without any random number."""

    def __call__(self, p, a, *, xp, random=None):
        return a if random is None else 2.0 * a


@dataclass(frozen=True)
class Misspelt(blocks.Block):
    def __call__(self, p, a, *, xp, random=None):
        return a if random is None else a * random.normal(a, xp=xp)


@dataclass(frozen=True)
class Wrong(blocks.Block):
    def __call__(self, p, a, *, xp, random=None):
        return a if random is None else xp.sort(a)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_a_block_may_do_something_else_in_training(backend):
    net = gd.Network(OnlyInTraining(), 5, backend=backend)
    loss = net.fit(X, np.zeros_like(X), epochs=1).loss[0]
    assert loss == pytest.approx(2 * float((X**2).sum()) / len(X), rel=1e-5)


def test_a_block_that_draws_wrongly_does_not_train_as_if_it_drew_nothing():
    with pytest.raises(AttributeError, match="normal"):
        gd.Network(Misspelt(), 5).fit(X, X, epochs=1)
    with pytest.raises(gd.errors.TraceError, match=r"xp\.sort"):
        gd.Network(Wrong(), 5).fit(X, X, epochs=1)
