"""Generators that are seeded for many epochs at once are NumPy's own, to the bit."""

from zlib import crc32

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gdkernels.randomness import epoch_order, epoch_orders
from gdkernels.randomness.generators import generators
from gdkernels.randomness.seeding import seeded_states


@settings(max_examples=40)
@given(st.integers(0, 1 << 130), st.text(max_size=9), st.lists(st.integers(0, (1 << 32) - 1), min_size=1, max_size=5))
def test_states_are_those_of_numpy(seed, purpose, epochs):
    words = seed, crc32(purpose.encode())
    for state, epoch in zip(seeded_states(words, epochs), epochs, strict=True):
        assert state == np.random.default_rng([*words, epoch]).bit_generator.state


@pytest.mark.parametrize("epochs", [range(3), range(40), range((1 << 32) - 20, (1 << 32) + 2)])
def test_orders_of_many_epochs_are_those_of_each(epochs):
    found = np.asarray(epoch_orders(5, epochs, 57))
    assert [order.tolist() for order in found] == [epoch_order(5, epoch, 57).tolist() for epoch in epochs]
    drawn = [g.standard_normal(3).tolist() for g in generators(5, "rows", epochs)]
    assert drawn == [np.random.default_rng([5, crc32(b"rows"), e]).standard_normal(3).tolist() for e in epochs]
    keyed = epoch_orders(5, range(2), 70_000)
    assert keyed == [epoch_order(5, epoch, 70_000) for epoch in range(2)]
