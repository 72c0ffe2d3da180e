"""The order of many records: each comes once, in a permutation that no test tells from a uniform one."""

import numpy as np
import pytest

import gdkernels as gd
from gdkernels.backend import Executable, State
from gdkernels.backend.arguments import check_run
from gdkernels.backend.program import Program
from gdkernels.definition import losses
from gdkernels.definition.objective import Objective
from gdkernels.definition.optimizers import SGD
from gdkernels.errors import InputError
from gdkernels.models.network import Network
from gdkernels.randomness import KeyedOrder, epoch_order, generator
from gdkernels.randomness.counter_based import keys_of

SIZES = {64: 2000, 1000: 600, 65_537: 32, 2**20 - 1: 3, 2**20: 3, 2**20 + 1: 3}  # and how many orders are looked at
BATCH = 8


def orders(n, count):
    return (np.asarray(KeyedOrder.of(seed, 3, n)) for seed in range(count))


def rotations(n, count):
    random = np.random.default_rng(0)
    return (np.roll(np.arange(n), random.integers(n)) for _ in range(count))


# ---- what is measured: in standard deviations of a uniform permutation


def of_positions(found, n):
    """How far the records at each of up to 32 parts of the places are from being spread over as many parts of all."""
    parts, counts, drawn = min(32, n), 0, 0
    place = np.arange(n) * parts // n
    for order in found:
        counts = counts + np.bincount(place * parts + place[order], minlength=parts * parts)
        drawn += 1
    sizes = np.bincount(place)
    expected = drawn * np.outer(sizes, sizes) / n
    chi2 = ((counts.reshape(parts, parts) - expected) ** 2 / expected).sum() * (n - 1) / n
    return (chi2 - (parts - 1) ** 2) / np.sqrt(2) / (parts - 1)


def of_pairs(found, n):
    """How often two records that are so far from each other, neighbours among them, are in one batch: the worst."""
    root = int(np.sqrt(n))
    apart = [1, 2, 3, root - 1, root, root + 1, 2 * root, n // 2 - 1]
    batch = max(BATCH, n // 512)
    batches, together, drawn = n // batch, np.zeros(len(apart)), 0
    for order in found:
        at = np.empty(n, np.int64)
        at[order] = np.arange(n) // batch
        whole = at < batches
        together += [np.count_nonzero((at == np.roll(at, d)) & whole) for d in apart]
        drawn += 1
    expected = drawn * batches * batch * (batch - 1) / (n - 1)
    return np.abs((together - expected) / np.sqrt(expected)).max()


def of_neighbours(found, n):
    """How far the numbers of records that come one after the other are apart: in up to 64 parts, the worst."""
    parts, counts, drawn = min(64, n), 0, 0
    for order in found:
        apart = (order[1:] - order[:-1]) % n
        counts = counts + np.bincount(apart * parts // n, minlength=parts)
        drawn += 1
    sizes = np.bincount(np.arange(1, n) * parts // n)
    expected = drawn * sizes
    used = expected > 0
    return np.abs((counts - expected)[used] / np.sqrt(expected[used])).max()


MEASURES = {"positions": of_positions, "pairs": of_pairs}


# ---- the permutation


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 17, *SIZES])
def test_every_record_comes_once(n):
    for order in orders(n, 2):
        assert order.dtype == np.int64
        assert np.array_equal(np.sort(order), np.arange(n))


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("measure", MEASURES)
def test_it_is_uniform(n, measure):
    assert abs(MEASURES[measure](orders(n, SIZES[n]), n)) < 4.5


def test_records_one_after_the_other_are_as_far_apart_as_any():
    assert of_neighbours(orders(1000, 300), 1000) < 4.5
    assert of_neighbours(orders(65_537, 48), 65_537) < 4.5


@pytest.mark.parametrize("n", [64, 65_537])
def test_a_rotation_is_not_taken_for_uniform(n):
    assert abs(of_positions(rotations(n, 40), n)) > 8
    assert of_pairs(rotations(n, 40), n) > 8
    assert of_neighbours(rotations(n, 40), n) > 8


def test_seed_epoch_and_records_each_give_another_order():
    given = [(0, 0, 70_000), (1, 0, 70_000), (2**40, 0, 70_000), (0, 1, 70_000), (0, 0, 70_001)]
    found = [np.asarray(epoch_order(*g)) for g in given]
    for k, order in enumerate(found[1:4]):
        assert np.count_nonzero(order == found[0]) < 20, k
    assert np.count_nonzero(found[4][:-1] == found[0]) < 20


def lowbias32(a):
    """C. Wellons' function on an unsigned number, as he writes it."""
    a = ((a ^ (a >> 16)) * 0x7FEB352D) & 0xFFFFFFFF
    a = ((a ^ (a >> 15)) * 0x846CA68B) & 0xFFFFFFFF
    return a ^ (a >> 16)


def plainly(order):
    """Return what the module's text says, place by place."""
    n = order.records
    a = next(k for k in range(1, n + 1) if k * k >= n)
    b = -(-n // a)
    for place in range(n):
        p = place
        while True:
            high, low = divmod(p, b)
            for k, key in enumerate(order.keys):
                if k % 2:
                    low = (low + (lowbias32(high ^ key) * b >> 32)) % b
                else:
                    high = (high + (lowbias32(low ^ key) * a >> 32)) % a
            p = high * b + low
            if p < n:
                break
        yield p


@pytest.mark.parametrize("n", [1, 2, 7, 101])
def test_it_is_what_is_written(n):
    order = KeyedOrder.of(5, 2, n)
    assert list(plainly(order)) == np.asarray(order).tolist()


def test_a_part_is_what_the_whole_has_there():
    order = KeyedOrder.of(1, 0, 70_000)
    whole = np.asarray(order)
    for part in (slice(0, 5), slice(260, 300), slice(69_000, None), slice(17, 17), slice(0, 70_000)):
        assert np.array_equal(np.asarray(order[part]), whole[part])
        assert len(order[part]) == len(whole[part])
    assert np.array_equal(np.asarray(order[1000:][30:50]), whole[1030:1050])
    with pytest.raises(ValueError, match="the step 1, got 2"):
        order[::2]


def test_keys_name_whole_numbers_of_any_size():
    start = np.array([7], np.int32)
    numbers = [(0,), (1,), (0, 0), (0, 1), (1, 0), (5,), (5 + 2**32,), (5 + 2**33,), (5 + 2**64,)]
    assert len({int(keys_of(start, *n)[0]) for n in numbers}) == len(numbers)


# ---- in training


def test_few_records_are_permuted_as_ever():
    assert np.array_equal(epoch_order(3, 2, 65_536), generator(3, "order", 2).permutation(65_536))
    assert isinstance(epoch_order(3, 2, 65_537), KeyedOrder)
    assert np.array_equal(epoch_order(3, 2, 65_537, stream=1), generator(3, "order", 2).permutation(65_537))


RECORDS, SIZE = 70_001, 4096


def data(records=RECORDS):
    random = np.random.default_rng(0)
    X = random.standard_normal((records, 3)).astype(np.float32)
    return X, X[:, :1] * X[:, 1:2]


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_every_backend_is_given_the_same_order(backend, monkeypatch):
    seen = []
    mlp = gd.MLP([3, 8, 1], seed=4, backend=backend)
    trainer = gd.Trainer(mlp, batch_size=SIZE)
    trainer.epoch(*data())
    executable = type(trainer.runner.executable)
    run = executable.run

    def watched(self, state, x, y, order, *rest):
        seen.append(order)
        return run(self, state, x, y, order, *rest)

    monkeypatch.setattr(executable, "run", watched)
    trainer.epoch(*data())
    trainer.epoch(*data())
    for epoch, order in enumerate(seen, start=1):
        assert isinstance(order, np.ndarray)
        assert np.array_equal(order, np.asarray(KeyedOrder.of(4, epoch, RECORDS)))
    assert len(seen) == 2


class Keyed(Executable):
    """An executable that takes keyed orders, and keeps what it is given."""

    origin = "compiled"
    takes_keyed_orders = True

    def __init__(self, other):
        self._other, self.plan, self.given = other, other.plan, []

    def run(self, state, x, y, order, *rest):
        self.given.append(order)
        return self._other.run(state, x, y, np.asarray(order), *rest)

    def predict(self, parameters, x):
        return self._other.predict(parameters, x)


def test_what_computes_the_order_itself_comes_to_the_same_bits(monkeypatch):
    def trained(keyed, folder=None):
        mlp = Network.of(gd.MLP([3, 8, 1], seed=4, backend="numpy").network, {})
        trainer = gd.Trainer(mlp, batch_size=SIZE, optimizer="sgd")
        if keyed:
            steps = trainer.runner._steps  # a backend that does so is on a GPU
            prepare = steps.prepare
            made = {}

            def prepared(*arguments, **settings):
                found = prepare(*arguments, **settings)
                if not isinstance(found, Keyed):
                    steps._executable = made.setdefault(id(found), Keyed(found))
                return steps._executable

            monkeypatch.setattr(steps, "prepare", prepared)
        trainer.fit(*data(), epochs=4)
        given = trainer.runner.executable.given if keyed else []
        return [a.tobytes() for a in mlp.network.parameters.values()], given

    plain, _ = trained(keyed=False)
    keyed, given = trained(keyed=True)
    assert keyed == plain
    assert [len(order) for order in given] == [RECORDS] * 4
    assert all(isinstance(order, KeyedOrder) for order in given)


def test_an_order_of_more_records_than_there_are_is_refused():
    X, Y = data(100)
    program = Program(gd.MLP([3, 8, 1]).network.structure.block, 3, 1, Objective(losses.sse), SGD(0.1))
    state = State(dict(gd.MLP([3, 8, 1], backend="numpy").network.parameters), {})
    with pytest.raises(InputError, match="names row 0 to 100 of 100 rows"):
        check_run(program, state.parameters, X, Y, KeyedOrder.of(0, 0, 101), 8, np.zeros(13))


# ---- checkpoints


def test_a_fit_goes_on_in_the_middle_of_an_epoch(tmp_path):
    def run(folder, epochs):
        mlp = gd.MLP([3, 8, 1], seed=4, backend="numpy")
        mlp.fit(*data(), epochs=epochs, batch_size=SIZE, checkpoint=folder, every="5 steps", keep=99, resume=True)
        return [a.tobytes() for layer in mlp.parameters for a in layer]

    expected = run(tmp_path / "whole", 2)
    middle = sorted((tmp_path / "whole").glob("step-*"))[2]
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / middle.name).write_bytes(middle.read_bytes())
    assert run(tmp_path / "part", 2) == expected
