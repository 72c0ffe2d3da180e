"""Orders that compiled code draws are NumPy's, whoever draws them; where they would not be, NumPy draws them."""

import logging

import numpy as np
import pytest
from gdkernels_numba import orders as engine_orders
from gdkernels_numba.compilation import shared_kernels
from gdkernels_numba.executable import FusedExecutable
from gdkernels_numba.ir.format import Format
from gdkernels_numba.orders import RunOrders

import gdkernels as gd
from gdkernels.randomness import SeededOrders, epoch_order

X = np.random.default_rng(0).standard_normal((57, 3)).astype("float32")
Y = X[:, :1] * X[:, 1:2]


@pytest.fixture(scope="module")
def draw():
    return shared_kernels(Format("float32", 8)).draw_orders


@pytest.fixture(autouse=True)
def _nobody_has_asked():
    engine_orders._asked.cache_clear()


def test_they_are_those_of_numpy(draw):
    random = np.random.default_rng(5)
    sizes = [0, 1, 2, 3, 4, 5, 255, 256, 257, 1000, 65_535, 65_536, *random.integers(6, 3000, 60).tolist()]
    for k, records in enumerate(sizes):
        seed = int(random.integers(1 << 62)) ** (1 + k % 4) >> 7 * k % 60  # of up to eight words
        first = (0, int(random.integers(1 << 32)) - 2, (1 << 32) - 2)[k % 3]
        orders = SeededOrders(seed, range(max(0, first), max(0, first) + 2), records)
        wanted = np.stack([epoch_order(seed, epoch, records) for epoch in orders.epochs])
        assert np.array_equal(RunOrders.of(orders, draw).drawn(draw), wanted), (seed, first, records)


def test_epochs_with_numbers_of_two_words_are_drawn_by_numpy(draw):
    orders = SeededOrders(3, range((1 << 32) - 1, (1 << 32) + 1), 20)
    found = RunOrders.of(orders, draw)
    assert found.drawing is None
    assert np.array_equal(found.numbers, [epoch_order(3, epoch, 20) for epoch in orders.epochs])


def test_who_asks_again_shares_what_was_drawn(draw):
    orders = SeededOrders(1, range(4), 30)
    first, second, third = (RunOrders.of(orders, draw) for _ in range(3))
    assert first.drawing is not None, "the thread that runs it draws it"
    assert second.drawing is None
    assert third.numbers is second.numbers
    assert np.array_equal(first.drawn(draw), second.numbers)
    many = SeededOrders(1, range(4), 1 << 16)  # too many to keep
    assert all(RunOrders.of(many, draw).drawing is not None for _ in range(3))


def test_where_numpy_draws_others_they_are_numpys(draw, monkeypatch, caplog):
    drawn = []
    other = lambda record: drawn.append(record) or draw(record)  # noqa: E731 - compiled code that nobody has compared
    monkeypatch.setattr(engine_orders, "_same", {})
    monkeypatch.setattr(engine_orders, "_COMPARED", (_ReversedOrders(0, range(2), 33),))
    orders = SeededOrders(2, range(3), 40)
    with caplog.at_level(logging.INFO, "gdkernels"):
        found = [RunOrders.of(orders, other) for _ in range(2)]
    assert all(np.array_equal(each.numbers, orders) and each.drawing is None for each in found)
    assert len(drawn) == 1, "they are compared once"
    assert f"NumPy {np.__version__} draws the orders" in caplog.text


class _ReversedOrders(SeededOrders):
    """What a NumPy would draw whose stream is another."""

    def __array__(self, dtype=None, copy=None):
        return np.ascontiguousarray(super().__array__(dtype)[:, ::-1])


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    "given",
    [{}, {"patience": 9, "validation": 0.2}, {"sample_weight": np.arange(57.0) % 3}],
    ids=["in one call", "epoch by epoch", "weights go by the order"],
)
def test_training_has_the_records_in_the_order_of_numpy(given, threads, monkeypatch):
    asked, prepared = [], FusedExecutable._prepared
    monkeypatch.setattr(
        FusedExecutable, "_prepared", lambda self, *args: asked.append(type(args[3])) or prepared(self, *args)
    )
    seeds = 0, 0, 1, 1

    def model(seed):
        return gd.MLP([3, 4, 1], seed=seed, threads=threads, backend="numba")

    def bits(model):
        return [p.tobytes() for p in model.network.host_parameters().values()]

    models = [model(seed) for seed in seeds]
    gd.fit_many(models, X, Y, epochs=5, settings={"batch_size": 8}, threads=threads, **given)
    assert SeededOrders in asked
    alone = [model(seed) for seed in seeds]
    for one, seed in zip(alone[:3], seeds, strict=False):
        order = lambda epoch, n, seed=seed: epoch_order(seed, epoch, n)  # noqa: E731 - short, and bound at once
        one.trainer(batch_size=8, order=order).fit(X, Y, epochs=5, **given)
    alone[3].fit(X, Y, epochs=5, batch_size=8, **given)
    assert list(map(bits, models)) == list(map(bits, alone))
