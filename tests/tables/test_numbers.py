"""Numbers as people write them, and what looks like some and is not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdkernels.tables.numbers import numbers_in

NAN = np.nan


@pytest.mark.parametrize(
    ("cells", "delimiter", "wanted"),
    [
        (["1", "-2.5e3", " 7 "], ",", [1, -2500, 7]),
        (["", "NA", " ? ", "3"], ",", [NAN, NAN, NAN, 3]),
        (["", ""], ",", [NAN, NAN]),
        (["3,5", "-1"], ";", [3.5, -1]),
        (["1,234", "950", "NA"], ",", [1234, 950, NAN]),
        (["-1,234,567.25", "2"], ",", [-1234567.25, 2]),
        (["1,234,567", "950"], "\t", [1234567, 950]),
        (["1,234.5", "950"], ";", [1234.5, 950]),
        (["1.234,50", "12,00", ""], ";", [1234.5, 12, NAN]),
        (["$5", "$1,200.50", "?"], ",", [5, 1200.5, NAN]),
        (["5 %", "7.5%"], ",", [5, 7.5]),
        (["5,00 €", "1.000,20 €"], ";", [5, 1000.2]),
    ],
)
def test_numbers(cells, delimiter, wanted):
    np.testing.assert_array_equal(numbers_in(cells, delimiter), wanted)


@pytest.mark.parametrize(
    ("cells", "delimiter"),
    [
        (["1", "blue"], ","),
        (["1_000"], ","),
        (["٣"], ","),
        (["007", "12"], ","),
        (["0,950", "1,234"], ","),  # decimals, in a file whose cells are divided by commas
        (["1,23"], ","),
        (["12,34,567"], ","),
        (["1,234", "950"], "\t"),  # one group may be decimals
        (["1.234.567"], ","),
        (["1.234,50", "1.234"], ";"),  # with and without decimals: the second alone would be a little more than one
        (["$5", "6"], ","),
        (["5%", "$6"], ","),
        (["%"], ","),
        (["$$5"], ","),
        (["-$5", "$6"], ","),
    ],
)
def test_what_is_not_surely_a_number_is_text(cells, delimiter):
    assert numbers_in(cells, delimiter) is None


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_whatever_python_writes_is_read_again(values):
    np.testing.assert_array_equal(numbers_in([repr(v) for v in values], ","), values)


@given(st.lists(st.integers(-(10**12), 10**12), min_size=1))
def test_groups_are_read_again(values):
    np.testing.assert_array_equal(numbers_in([f"{v:,}" for v in values], ","), values)
