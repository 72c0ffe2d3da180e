"""Numbers that differ are counted as sorting them would count them, whether they are ticked off or sorted."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdkernels.tables.features.scaling import count_distinct


@given(
    st.lists(st.integers(-300, 300), max_size=400),
    st.sampled_from([1.0, 10.0, 1e4, 1e6, 3.0, 2.0**-40]),
    st.lists(st.floats(allow_nan=False), max_size=3),
)
def test_numbers_are_counted_as_a_set_of_them_counts(whole, divisor, others):
    values = np.array([*(k / divisor for k in whole), *others], np.float64)
    assert count_distinct(values) == len(set(values.tolist()))


@pytest.mark.parametrize("last", [0.25, 1e-9, 1e300, np.inf, 2.0**53 + 2])
def test_a_number_of_another_kind_late_in_a_column_is_counted(last):
    values = np.round(np.random.default_rng(0).normal(size=70_000), 2)
    values[-1] = last
    assert count_distinct(values) == len(np.unique(values))
