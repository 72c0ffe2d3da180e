"""Numbers as people write them, and what looks like some and is not."""

from unittest import mock

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gdkernels.tables.cells.cells import CellBlock, Cells
from gdkernels.tables.column import evidence, meaning
from gdkernels.tables.column.column_data import NumberColumn
from gdkernels.tables.column.evidence import Evidence
from gdkernels.tables.column.meaning import settled

NAN = np.nan


def numbers_in(cells, delimiter):
    """Return the numbers that a column's cells are taken for; None where they are taken for something else."""
    column = settled(Cells.of(cells, delimiter))
    return column.values if isinstance(column, NumberColumn) else None


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
        (["0,950", "1,234"], ",", [0.95, 1.234]),  # no group begins with a zero: these are decimals
        (["1,23"], ",", [1.23]),
        (["12,34,567"], ",", [1234567]),  # as in India
        (["1.234.567", "950.000"], ",", [1234567, 950000]),
        (["1.234,50", "1.234"], ";", [1234.5, 1234]),
        (["1.234", "2.345"], ";", [1.234, 2.345]),
        (["1.234", "0.345", "-1234.567"], ";", [1.234, 0.345, -1234.567]),
        (["+1.5", "+12", "1.25e+03"], ",", [1.5, 12, 1250]),
        (["(1,234.50)", "7.25", "(5)", "-3"], ",", [-1234.5, 7.25, -5, -3]),
        (["($1,234.50)", "$7", "$(5.5)"], ",", [-1234.5, 7, -5.5]),
        (["1.234,50-", "7,25"], ";", [-1234.5, 7.25]),
        (["1,234", "5,678"], ";", [1.234, 5.678]),
        (["1.234", "0"], ";", [1.234, 0]),
        (["Rs. 950", "Rs. 5"], ",", [950, 5]),
        (["1.234", "950", "1950"], ";", [1.234, 950, 1950]),
        (["1.234", "950", "1.5"], ";", [1.234, 950, 1.5]),
        (["1,234", "950"], ",", [1234, 950]),
        (["-$5", "$6", "$-7"], ",", [-5, 6, -7]),
        (["1 234,5", "1\u00a0234\u202f567", "−5"], "\t", [1234.5, 1234567, -5]),
        (["1'234.5", "2’000"], ",", [1234.5, 2000]),
        ([f"{k},000km" for k in range(1, 7)], ",", [1000.0 * k for k in range(1, 7)]),
        ([f"{k}.5 km/h" for k in range(6)], ",", [k + 0.5 for k in range(6)]),
        (["5,-", "1.234,--", "7,50"], ";", [5, 1234, 7.5]),  # a dash in place of a fraction
        (["5.-", "-7.\u2014", "7.50", "9:-"], ",", [5, -7, 7.5, 9]),
        (["\u20134.6", "5", "7\u2013"], ",", [-4.6, 5, -7]),
        (["\u0be8\u0bed", "5"], ",", [27, 5]),  # Tamil
        ([f"{k} m2" if k % 2 else f"{k}m^2" for k in range(6)] + ["6 m²"], ",", range(7)),
        ([f"{k} {'µ' if k % 2 else 'μ'}g/L" for k in range(6)], ",", range(6)),
        (["25 ℃", "-3℃"], ",", [25, -3]),
        (["none", "-", "#N/A", "<NA>", ".", "\\N", "#DIV/0!", "--", "n/a", "3"], ",", [*[NAN] * 9, 3]),
    ],
)
def test_numbers(cells, delimiter, wanted):
    np.testing.assert_array_equal(numbers_in(cells, delimiter), wanted)


@pytest.mark.parametrize(
    ("cells", "delimiter"),
    [
        (["1", "blue"], ","),
        (["1_000"], ","),
        (["³"], ","),
        (["007", "12"], ","),
        (["1,234", "950"], "\t"),  # one group may be decimals
        (["1,234", "950"], None),
        (["1,234", "950"], ";"),
        (["1.234", "950"], ","),
        (["1.234 €", "950 €"], ";"),
        ([*["7"] * 70_000, "1.234"], ";"),
        (["1.5", "1,5"], ";"),
        (["1.2.3", "1.2"], ","),
        (["+4915123456789"], ","),
        (["5", " +4915123456789"], ","),
        (["0.125", "1.234,5"], ";"),
        (["5 kg", "7 lb"], ","),
        (["1Story", "2Story"] * 9, ","),  # a few names
        (["$5", "6"], ","),
        (["5%", "$6"], ","),
        (["%"], ","),
        (["$$5"], ","),
        (["(1)", "(2)"], ","),  # as notes are numbered
        (["5 -", "A"], ","),
        ([f"{k}²" for k in range(9)], ","),  # a note, or a square
        ([f"{k}½" for k in range(9)], ","),
        ([f"{k}⁴" for k in range(9)], ","),
        (["-5-", "5"], ","),
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


@pytest.mark.parametrize(
    "cells",
    [["1", "+2"], ["1.5e+00", "2.5e-01"], ["1.234", "0.125"], ["1.234", "-.125"], ["1.234", "+1234.125"], ["1.5", ""]],
)
def test_all_of_these_are_read_at_once(cells):
    assert Evidence(",").add(CellBlock("\0".join(cells), len(cells))) is not None


@pytest.mark.parametrize("cells", [["+4915123456789", "1"], ["1.234", "-12.345"], ["1.5", "007"], ["1.5", "- "]])
def test_at_these_a_closer_look_is_taken(cells):
    assert Evidence(",").add(CellBlock("\0".join(cells), len(cells))) is None


PLAIN = st.builds(
    lambda sign, whole, rest: f"{sign}{whole}{rest}",
    st.sampled_from(["", "-", "+"]),
    st.sampled_from(["0", "", "5", "12", "123", "1234", "1234567"]),
    st.sampled_from(["", ".", ".1", ".25", ".125", ".1255", ".125e5", "e+3", ".5E-3"]),
)


@given(
    st.lists(PLAIN | st.sampled_from(["", "NA", " 7", "-", "+4915123456789", "007"]), min_size=1, max_size=6),
    st.sampled_from([",", ";", "\t"]),
)
@example(["1.125", "0.125"], ";")
@example(["1.125", "-12.125"], ";")
@example(["1.125", "1234.125"], "\t")
def test_what_is_read_at_once_is_what_a_closer_look_finds(cells, delimiter):
    quick = settled(Cells.of(cells, delimiter))
    slowly = [mock.patch.object(module, "plain_numbers", return_value=None) for module in (evidence, meaning)]
    with slowly[0], slowly[1]:
        slow = settled(Cells.of(cells, delimiter))
    assert type(quick) is type(slow)
    assert quick.finding.reading == slow.finding.reading
    assert (quick.finding.doubt is None) == (slow.finding.doubt is None)
    if isinstance(quick, NumberColumn):
        np.testing.assert_array_equal(quick.values, slow.values)
    else:
        np.testing.assert_array_equal(quick.codes, slow.codes)
