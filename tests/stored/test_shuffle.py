"""The order of an epoch in windows: every record once, the same again, and as near to uniform as is said."""

import math

import numpy as np
import pytest

from gdkernels.data.stored.shuffle import Layout, Shuffle

EPOCHS = 200
N, SIZE, TOGETHER, BATCH = 8192, 4, 256, 60  # a batch does not divide a window: the rest goes on with the next


def order_of(layout, batch, epoch, seed=3):
    """Return the numbers of an epoch's records in the order in which they are used."""
    shuffle, found = Shuffle(layout, batch, seed, epoch), []
    for window in range(shuffle.windows):
        rows = []
        for block in shuffle.blocks(window):
            first, stop = layout.bounds(block)
            chosen = layout.rows_of([block])
            rows.append(np.arange(first, stop) if chosen is None else first + chosen)
        found.append(np.concatenate(rows)[shuffle.permutation(window)])
    return np.concatenate(found)


@pytest.fixture(scope="module")
def orders():
    return np.array([order_of(Layout(N, SIZE, TOGETHER), BATCH, epoch) for epoch in range(EPOCHS)])


@pytest.mark.parametrize(("records", "size", "together"), [(1000, 3, 7), (1001, 1, 300), (10, 4, 2), (7, 7, 2)])
@pytest.mark.parametrize("batch", [1, 4])
def test_every_record_once_and_full_batches(records, size, together, batch):
    layout = Layout(records, size, together)
    assert sorted(order_of(layout, batch, 0).tolist()) == list(range(records))
    shuffle = Shuffle(layout, batch, 3, 0)
    assert shuffle.steps == -(-records // batch)
    bounds = [shuffle.steps_of(window) for window in range(shuffle.windows)]
    assert [first for first, _ in bounds] == [0, *(last for _, last in bounds[:-1])]
    assert bounds[-1][1] == shuffle.steps
    assert [shuffle.window_of(step) for first, last in bounds for step in range(first, last)] == [
        window for window, (first, last) in enumerate(bounds) for _ in range(first, last)
    ]


def test_a_share_of_every_part_of_the_file_is_held_out():
    train, held = (Layout(1003, 3, 50, 0.1, held, 5) for held in (False, True))
    a, b = order_of(train, 7, 0), order_of(held, 7, 0)
    assert sorted([*a, *b]) == list(range(1003))
    assert (len(a), len(b)) == (len(train), len(held)) == (903, 100)
    assert all(len(b[(b >= k) & (b < k + 100)]) in (9, 10, 11) for k in range(0, 900, 90))
    together = [4, 9, 334]  # the last is smaller
    alone = [3 * k + train.rows_of([block]) for k, block in enumerate(together)]
    assert train.rows_of(together).tolist() == np.concatenate(alone).tolist()


def test_seed_and_epoch_make_the_order():
    layout = Layout(N, SIZE, TOGETHER)
    assert (order_of(layout, BATCH, 1) == order_of(layout, BATCH, 1)).all()
    assert (order_of(layout, BATCH, 1) != order_of(layout, BATCH, 2)).mean() > 0.99
    assert (order_of(layout, BATCH, 1) != order_of(layout, BATCH, 1, seed=4)).mean() > 0.99
    told = {Shuffle(Layout(N, size, TOGETHER), batch, seed, epoch).digest()
            for size in (4, 5) for batch in (60, 61) for seed in (3, 4) for epoch in (0, 1)}  # fmt: skip
    assert len(told) == 16


def test_every_record_is_as_likely_at_any_place(orders):
    places = np.argsort(orders, axis=1)  # [epochs, records]: where each is used
    tenths = places * 10 // N
    counts = np.array([np.bincount(tenths[:, records].ravel(), minlength=10) for records in np.split(np.arange(N), 64)])
    expected = counts.sum(axis=1, keepdims=True) / 10
    # Records of a window move together: so many of them count as one, and chi² is smaller by as much.
    chi2 = ((counts - expected) ** 2 / expected).sum()
    assert chi2 < 64 * 9 * SIZE * 1.3
    ranks = np.array([np.corrcoef(order, np.arange(N))[0, 1] for order in orders])
    assert abs(ranks.mean()) < 5 * math.sqrt(SIZE / N / EPOCHS)


def together(orders, u, v):
    """Return how often the records u and v [pairs] are in one batch, and the deviation of that by chance."""
    batches = np.argsort(orders, axis=1) // BATCH
    share = (batches[:, u] == batches[:, v]).mean()
    return share, math.sqrt(share / (EPOCHS * len(u)))


def test_records_of_different_blocks_meet_as_in_a_uniform_shuffle(orders):
    uniform = (BATCH - 1) / (N - 1)
    for apart in (SIZE, N // 64, N // 2):
        u = np.arange(0, N - apart)
        share, deviation = together(orders, u, u + apart)
        # Neighbouring pairs meet together: they are so many fewer.
        assert abs(share - uniform) < uniform / TOGETHER + 4 * SIZE * deviation


def test_records_of_one_block_meet_as_often_as_stated(orders):
    u = np.arange(0, N, SIZE)
    share, deviation = together(orders, u, u + 1)
    uniform = (BATCH - 1) / (N - 1)
    assert abs(share - uniform * N / (TOGETHER * SIZE)) < 5 * deviation + uniform  # batches across two windows
    assert share > 4 * uniform  # so much is left of the file's order, and it is stated


def deviation_of_means(orders):
    """Return the deviation of the means of batches of a sorted file, as a multiple of that in a uniform shuffle."""
    values = (orders / N)[:, : N // BATCH * BATCH].reshape(-1, BATCH)
    return values.mean(axis=1).std() / math.sqrt((values.var() / BATCH) * (N - BATCH) / (N - 1))


def test_means_over_batches_of_a_sorted_file_are_within_the_bound(orders):
    bound = math.sqrt(1 + (BATCH - 1) / TOGETHER)
    assert 1 < deviation_of_means(orders) < bound
    # Blocks in a random order, a few at a time, are not enough: the same measure finds it.
    poor = np.array([order_of(Layout(N, 128, 8), BATCH, epoch) for epoch in range(20)])
    assert deviation_of_means(poor) > 2 * bound
