"""Dates as people of several countries write them: told by all cells of a column, and read as the day that is meant."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from gdkernels.tables import Preparation
from gdkernels.tables.cells.calendar_names import MONTHS
from gdkernels.tables.cells.dates import is_pattern, moment_of, patterns_of
from gdkernels.tables.cells.numbers import PLAIN
from gdkernels.tables.column.bare_dates import bare_pattern

DAY = datetime(2021, 8, 3, tzinfo=UTC)
SPELLED = {
    "03. 08. 2021": "%d. %m. %Y",
    "3. 8. 2021": "%d. %m. %Y",
    "2021. 8. 3.": "%Y. %m. %d.",
    "2021年08月03日": "%Y年%m月%d日",
    "2021년 8월 3일": "%Y년 %m월 %d일",
    "3. August 2021": "%d. %b %Y",
    "03.-Aug": None,
    "3 août 2021": "%d %b %Y",
    "3 aou\u0302t 2021": "%d %b %Y",  # the accent by itself
    "3\u00a0AOÛT\u00a02021": "%d %b %Y",
    "3-ago-2021": "%d-%b-%Y",
    "3 de agosto de 2021": "%d de %b de %Y",
    "Di, 03.08.2021": "%a, %d.%m.%Y",
    "mardi 3 août 2021": "%a %d %b %Y",
    "Tuesday, August 3, 2021": "%a, %b %d, %Y",
    "3rd August 2021": "%d %b %Y",
    "２０２１／０８／０３": "%Y/%m/%d",
    "٢٠٢١-٠٨-٠٣": "ISO 8601",
    "3 jui 2021": None,  # June or July
    "3 de gosto de 2021": None,
    "Sport 2021": None,
}
MOMENTS = {
    "Tue Aug  3 12:30:00 2021": "%a %b %d %H:%M:%S %Y",
    "Tue Aug 03 14:30:00 +0200 2021": "%a %b %d %H:%M:%S %z %Y",
    "03/Aug/2021:12:30:00 +0000": "%d/%b/%Y:%H:%M:%S %z",
    "3 août 2021 12h30": "%d %b %Y %Hh%M",
    "03.08.2021, 12:30 Uhr": "%d.%m.%Y, %H:%M Uhr",
    "2021年08月03日 12:30": "%Y年%m月%d日 %H:%M",
}


@pytest.mark.parametrize("cell", SPELLED)
def test_days(cell):
    pattern = SPELLED[cell]
    assert patterns_of(cell)[:1] == (() if pattern is None else (pattern,))
    if pattern is not None:
        assert is_pattern(pattern)
        assert moment_of(cell, pattern) == DAY


@pytest.mark.parametrize("cell", MOMENTS)
def test_moments(cell):
    assert patterns_of(cell) == (MOMENTS[cell],)
    assert moment_of(cell, MOMENTS[cell]) == DAY + timedelta(hours=12, minutes=30)


@pytest.mark.parametrize("cell", ["2021-08-03 24:00", "2021-08-03T24:00:00Z", "3.8.2021 24:00", "20210803T240000"])
def test_a_day_may_end_at_24(cell):
    assert {moment_of(cell, pattern) for pattern in patterns_of(cell)} == {DAY + timedelta(days=1)}
    assert not patterns_of(cell.replace("24", "25"))
    assert not patterns_of(cell.replace("00", "01")[: len(cell)].replace("2021", "9999"))


def test_no_name_is_of_two_months():
    assert sorted(set(MONTHS.values())) == list(range(1, 13))
    lines = [name for name in MONTHS if moment_of(f"1 {name} 2021", "%d %b %Y").month != MONTHS[name]]
    assert not lines


@pytest.mark.parametrize("figures", [8, 10, 12, 14])
def test_dates_without_separators(figures):
    moments = [DAY + timedelta(hours=97 * k, minutes=k % 60, seconds=k % 7) for k in range(50)]
    cells = [moment.strftime("%Y%m%d%H%M%S")[:figures] for moment in moments]
    numbers = np.array(list(map(float, cells)))
    pattern = bare_pattern(np.append(numbers, np.nan))
    assert [moment_of(cell, pattern) for cell in cells] == [
        moment_of(moment.isoformat(" ")[: {8: 10, 10: 13, 12: 16, 14: 19}[figures]], "ISO 8601") for moment in moments
    ]
    assert moment_of(cells[0] + ".0", pattern) is not None  # as gaps make of whole numbers
    assert moment_of(cells[0][:-1], pattern) is None
    wrong = {14: [60, 6000, 240000, 10**10 - 1], 12: [60, 2400], 10: [24], 8: []}[figures]
    for more in (*wrong, 0.5):
        assert bare_pattern(np.append(numbers, np.floor(numbers[0] / 10**6) * 10**6 + more)) is None
    table = {"at": numbers, "y": np.arange(50.0)}
    (kind,) = Preparation.fit(table, "y").columns
    assert (kind.kind, kind.reading.format) == ("date", pattern)
    assert Preparation.fit(table, "y", numeric=["at"]).columns[0].kind == "number"


@pytest.mark.parametrize(
    ("cell", "number"),
    [("１，２３４", None), ("１．５", 1.5), ("−1.5", -1.5), ("٤٫٥", 4.5), ("１２％", None), ("¹²", None)],
)
def test_figures_of_other_scripts(cell, number):
    assert PLAIN.value(cell) == number
