"""Rows that are set aside: each once, drawn by the generator, in the shares of the classes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdkernels.errors import InputError
from gdkernels.tables import split


@given(st.integers(2, 300), st.floats(0.001, 0.6), st.integers(0, 5))
def test_split_takes_each_row_once(n, share, seed):
    kept, held = split(n, share, np.random.default_rng(seed))
    assert sorted([*kept, *held]) == list(range(n))
    assert len(held) == max(1, round(share * n))
    np.testing.assert_array_equal(held, np.sort(held))


@given(st.lists(st.integers(1, 40), min_size=2, max_size=6), st.floats(0.01, 0.5), st.integers(0, 5))
def test_split_keeps_the_shares_of_classes(sizes, share, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    total = max(1, round(share * len(labels)))
    if total > len(labels) - len(sizes):
        with pytest.raises(InputError, match="too few"):
            split(len(labels), share, np.random.default_rng(seed), labels)
        return
    kept, held = split(len(labels), share, np.random.default_rng(seed), labels)
    assert sorted([*kept, *held]) == list(range(len(labels)))
    assert len(held) == total
    assert set(labels[kept]) == set(labels)
    ones = sum(size == 1 for size in sizes)
    for k, size in enumerate(sizes):
        assert abs(np.sum(labels[held] == k) - size * total / len(labels)) <= 1 + ones


def test_split_of_nothing():
    kept, held = split(5, 0.0, np.random.default_rng(0))
    assert kept.tolist() == [0, 1, 2, 3, 4]
    assert held.tolist() == []


def test_split_is_drawn_by_the_generator():
    one, two, other = (split(100, 0.3, np.random.default_rng(seed))[1].tolist() for seed in (1, 1, 2))
    assert one == two
    assert one != other


def test_one_row_cannot_be_split():
    with pytest.raises(InputError, match="1 record is too few"):
        split(1, 0.5, np.random.default_rng(0))
