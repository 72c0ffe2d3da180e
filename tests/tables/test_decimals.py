"""Plain decimals are read many at a time: what float() makes of each, to the last bit, or not at all."""

import random
import re
import struct

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gdkernels.tables.cells.cells import CellBlock
from gdkernels.tables.column.decimals import decimals
from gdkernels.tables.column.plain import plain_numbers

FIGURES = st.text("0123456789", max_size=20)
DECIMALS = st.builds(
    lambda sign, whole, point, fraction: f"{sign}{whole}{point}{fraction}",
    st.sampled_from(["", "-", "+"]),
    FIGURES,
    st.sampled_from(["", "."]),
    FIGURES,
)
# Everything that a figure could be taken for: its neighbours in ASCII, signs, exponents, spaces, several points.
ODD = st.text(r"0123456789.-+eE_ ,/:;()*'&xinfaNAT" + "\t\x01\x1e\x1f\x7f", max_size=20)
FLOATS = st.floats(allow_nan=False).map(repr)
UNSIGNED = re.compile("^[-+]")


def bits(value):
    return struct.pack("<d", value)


def check(cells):
    """All that is read is what float() reads, and plain decimals of up to 16 figures are read."""
    text = "\0".join(cells)
    found = decimals(text)
    others = set(found.others.tolist())
    assert len(found.values) == len(cells)
    for k, cell in enumerate(cells):
        figures = UNSIGNED.sub("", cell).replace(".", "", 1)
        plain = figures.isdigit() and figures.isascii() and len(figures) <= 16 and int(figures) <= 2**53
        assert (k not in others) == plain, cell
        assert bits(found.values[k]) == bits(float(cell) if plain else np.nan), cell
        assert cell == text[found.starts[k] : found.ends[k]]
    codes = [UNSIGNED.sub("", cell)[:2] for cell in cells]
    assert found.padded == any(code.isdigit() and len(code) == 2 and code[0] == "0" for code in codes)


@given(st.lists(DECIMALS | ODD | FLOATS, min_size=1, max_size=40))
@example(
    ["-0", "-0.0", "0", "0.", ".0", "-.0", ".", "-", "", "-.", "..", "1..", "1.2.3", "--1", "1-", "1-2", "+0", "+-1"]
)
@example(["9007199254740992", "9007199254740993", "900719925474099.3", "0.9007199254740993", "9999999999999999"])
@example(["12345678", "123456789", "1234567.8", "12345678.9", "0.12345678", "0.123456789", "1234567890123456"])
@example(["1,5", "1/5", "1:5", "1e5", "1E5", "+1", " 1", "1 ", "1_0", "inf", "nan", "-inf", "0x1", "1\n", "\t"])
@example([""])
@example(["", "", "1", ""])
def test_what_is_read_is_what_float_reads(cells):
    check(cells)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=40), st.integers(0, 17))
def test_numbers_that_were_rounded_come_back(values, figures):
    cells = [f"{value:.{figures}g}" for value in values]
    found = decimals("\0".join(cells))
    taken = np.setdiff1d(np.arange(len(cells)), found.others)
    assert found.values[taken].tobytes() == np.array([float(cells[k]) for k in taken], np.float64).tobytes()


@pytest.mark.parametrize("count", [1, 8191, 8192, 8193, 40_000])
def test_any_number_of_cells_is_read(count):
    draw = random.Random(count)
    check([draw.choice(["", "-", "7"]) + repr(round(draw.uniform(-1e6, 1e6), draw.randrange(9))) for _ in range(count)])


USUAL = st.sampled_from(["", "NA", "nan", "-", " NA ", "n/a", "?", "é"])


@given(st.lists(DECIMALS | ODD | FLOATS | USUAL, min_size=1, max_size=40))
@example(["1", "NA "])
@example(["1", "NA\n"])
@example(["1", " 2", "NA", "\t?\t"])
@example(["nan", "-nan", "NaN", "1e400"])
def test_plain_numbers_are_those_and_the_usual_gaps(cells):
    """`plain_numbers` gives what a loop over the cells does."""
    text = "\0".join(cells)
    found = plain_numbers(CellBlock(text, len(cells)))
    wanted = one_by_one(cells)
    assert (found is None) == (wanted is None)
    if found is not None:
        assert [np.isnan(v) for v in found.values] == [np.isnan(v) for v in wanted]
        assert all(bits(a) == bits(b) for a, b in zip(found.values, wanted, strict=True) if not np.isnan(b))
        assert found.gaps == {cell for cell, value in zip(cells, wanted, strict=True) if np.isnan(value)}


GAPS = [*("", "#div/0!", "#n/a", "#null!", "#num!", "#ref!", "#value!", "(null)", "-", "--", "---", ".", "..."),
        *("<na>", "?", "n.a.", "n/a", "na", "nan", "nat", "none", "null", "\\n", "–", "—")]  # fmt: skip
SPELLED = {v for gap in GAPS for v in (gap, gap.upper(), gap.title())} | {"NaN", "NaT", "\\N"}


def one_by_one(cells):
    """The numbers of cells, or None where one is neither a plain number nor a gap, or a code."""
    values = []
    padded = any(" " in cell or "\t" in cell for cell in cells)
    for cell in cells:
        bare = cell.strip().lstrip("+-")
        if not cell.isascii() or "_" in cell or (bare[:1] == "0" and bare[1:2].isdigit() and cell.strip()[:2] != "--"):
            return None
        if cell in SPELLED or (padded and cell.strip() in SPELLED):
            values.append(np.nan)
            continue
        try:
            values.append(float(cell))
        except ValueError:
            return None
    return values
