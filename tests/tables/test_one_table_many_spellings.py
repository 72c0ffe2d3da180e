"""One table, written in many ways: it is read back to the same values, or refused, and never as something else."""

import csv
import io
from datetime import datetime, timedelta

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gdkernels.errors import InputError
from gdkernels.tables import Preparation, parts, read
from gdkernels.tables.column.column_data import finding_of
from gdkernels.tables.column.reading import Finding
from gdkernels.tables.formats import text as text_module
from gdkernels.tables.table.checked import dates_of, numbers_of, split

GAPS = ["", "NA", "n/a", "null", "-", "None", "?", "#N/A", "."]
DATES = {
    "ISO 8601": "%Y-%m-%d %H:%M:%S",
    "dots": "%d.%m.%Y",
    "month first": "%m/%d/%Y",
    "day first": "%d/%m/%Y",
    "dashes": "%d-%m-%Y",
    "names": "%b %d, %Y",
    "short names": "%d-%b-%y",
    "am and pm": "%m/%d/%Y %I:%M %p",
    "seconds": "%d/%m/%Y %H:%M:%S",
}


def spelled(value, decimal, group, before, after, decimals):
    """Return a number as somebody may write it."""
    text = f"{value:,.{decimals}f}"
    text = text.replace(",", "\0").replace(".", decimal).replace("\0", group)
    return f"{before}{text}{after}"


@st.composite
def number_columns(draw):
    decimal, group = draw(
        st.sampled_from([(".", ""), (".", ","), (".", " "), (".", "'"), (",", ""), (",", "."), (",", " ")])
    )
    before, after = draw(st.sampled_from([("", ""), ("$", ""), ("€ ", ""), ("", " €"), ("", "%"), ("", " km")]))
    decimals = draw(st.integers(0, 4))
    values = draw(st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=30))
    values = [value / 10**decimals for value in values]
    gaps = draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values)))
    gap = draw(st.sampled_from(GAPS))
    cells = [
        gap if g else spelled(v, decimal, group, before, after, decimals) for v, g in zip(values, gaps, strict=True)
    ]
    return np.where(gaps, np.nan, values), cells


@st.composite
def date_columns(draw):
    pattern = draw(st.sampled_from(sorted(DATES)))
    minutes = draw(st.lists(st.integers(0, 40 * 365 * 24 * 60), min_size=1, max_size=30))
    moments = [datetime(1990, 1, 1) + timedelta(minutes=m) for m in minutes]
    texts = [m.strftime(DATES[pattern]) for m in moments]
    read_back = [datetime.strptime(text, DATES[pattern]) for text in texts]
    return [(m - datetime(1970, 1, 1)).total_seconds() / 86_400 for m in read_back], texts


def written(folder, delimiter, columns, line_end="\n"):
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator=line_end)
    writer.writerow(["row", *columns])
    for k, row in enumerate(zip(*columns.values(), strict=True)):
        writer.writerow([f"r{k}", *row])
    path = folder / "t.csv"
    path.write_text(text.getvalue(), encoding="utf-8")
    return path


@pytest.fixture
def folder(tmp_path):
    return tmp_path


EXAMPLES = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@EXAMPLES
@given(number_columns(), st.sampled_from(",;\t|"), st.integers(1, 40))
def test_numbers(folder, column, delimiter, records):
    values, cells = column
    path = written(folder, delimiter, {"v": cells})
    whole = read(path)
    found = finding_of(whole.columns["v"])
    if found.doubt is not None:
        assert found.doubt.formats  # each cell could be both: nobody can tell
        return
    if found.reading.kind != "number":
        assert len(set(cells) - set(GAPS)) < 5  # a few words behind figures, or nothing but gaps
        return
    got = numbers_of(whole, "v")
    if not np.array_equal(got, values, equal_nan=True):
        # All have one mark before three figures: decimals, or thousands in a file of commas.
        present = [c for c, v in zip(cells, values, strict=True) if not np.isnan(v)]
        assert all(len(re_split(c)) <= 2 and len(re_split(c)[-1]) == 3 for c in present if len(re_split(c)) > 1)
        return
    pieces = [numbers_of(part, "v") for part in parts(path, records)]
    np.testing.assert_array_equal(np.concatenate(pieces), got)
    known = {"v": Finding(found.reading)}
    pieces = [numbers_of(part, "v") for part in parts(path, records, findings=known)]
    np.testing.assert_array_equal(np.concatenate(pieces), got)


def re_split(cell):
    figures = "".join(c if c.isdigit() else " " for c in cell.strip("$€% km-"))
    return figures.split()


@EXAMPLES
@given(date_columns(), st.sampled_from(",;\t|"), st.integers(1, 40))
def test_dates(folder, column, delimiter, records):
    days, cells = column
    path = written(folder, delimiter, {"v": cells})
    whole = read(path)
    found = finding_of(whole.columns["v"])
    if found.doubt is not None:
        assert len(found.doubt.formats) > 1
        return
    assert found.reading.kind == "date"
    np.testing.assert_allclose(split(dates_of(whole, "v", found.reading), found.reading.format)[:, 0], days, rtol=1e-12)
    for part in parts(path, records, findings={"v": Finding(found.reading)}):
        assert finding_of(part.columns["v"]).reading == found.reading


@EXAMPLES
@given(
    st.lists(
        st.text(st.characters(exclude_characters="\0\r", exclude_categories=["Cs"]), max_size=8),
        min_size=1,
        max_size=30,
    )
)
def test_cells_come_back_as_they_were(folder, cells):
    from gdkernels.tables.formats.writing import cells_of

    path = folder / "t.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([["name", "v"], *([f"n{k}", cell] for k, cell in enumerate(cells))])
    try:
        table = read(path)
    except InputError as error:
        assert "a quoted cell that begins there holds whole records" in str(error)  # noqa: PT017
        return
    assert cells_of(table.columns["v"]) == cells


@pytest.mark.parametrize("first", [65_536, 300])
def test_one_reading_however_the_file_is_cut(folder, first, monkeypatch):
    monkeypatch.setattr(text_module, "_BLOCK", 1)
    cells = [f"{k},5" for k in range(first)] + ["1.234,5"] * 40
    path = written(folder, ";", {"v": cells})
    for part in parts(path, 256):
        assert str(finding_of(part.columns["v"]).reading) == "1.234,5"


def test_a_model_reads_a_new_file_as_it_learned(folder):
    path = written(folder, ";", {"v": [f"{k}.{k:03},50" for k in range(1, 200)], "y": [str(k) for k in range(199)]})
    preparation = Preparation.fit(read(path), "y", task="regression")
    assert preparation.findings["v"].reading.format == "1.234,5"
    other = read(written(folder, ",", {"v": ["4.004", "4004", "4004,00"], "y": "123"}))
    z = preparation.transform(other)[:, 0]
    assert z[0] == z[1] == z[2]
    with pytest.raises(
        InputError, match=r"record 1 of .*'v': '4.5' is not a number as those that were trained on are \(1"
    ):
        preparation.transform(read(written(folder, ",", {"v": ["4.5"], "y": "1"})))
