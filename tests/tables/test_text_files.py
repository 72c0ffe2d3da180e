"""Text files as people have them: titles, no header, open quotes, too many delimiters. No record vanishes."""

import numpy as np
import pytest

from gdkernels.errors import InputError
from gdkernels.tables import read
from gdkernels.tables.column_data import finding_of


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "t.csv"
        path.write_bytes(text.encode())
        return path

    return write


def refused(path, pattern, **options):
    with pytest.raises(InputError, match=pattern):
        read(path, **options)


def column(path, name, **options):
    return np.asarray(read(path, **options).columns[name]).tolist()


# ---- quotes


@pytest.mark.parametrize(
    ("line", "pattern"),
    [
        ('1,2,"12 inch', "line 51 of .*: a quote that begins in this record never ends"),
        ('1,"12 inch,ok', "line 51 of .*: a quote that begins in this record never ends"),
        ('"12" inch,2,ok', "line 51 of .*: ',' expected after '\"'"),
    ],
)
def test_a_quote_that_never_ends(file, line, pattern):
    lines = [f"{k},{k * k},ok" for k in range(100)]
    lines[49] = line
    refused(file("\n".join(["a,y,note", *lines, ""])), pattern)


@pytest.mark.parametrize("between", [1, 2, 5])
def test_two_stray_quotes_swallow_records(file, between):
    lines = [f"{k},{k * k},ok" for k in range(100)]
    lines[49], lines[49 + between] = '49,2401,"12 inch', '7,7,"'
    refused(
        file("\n".join(["a,y,note", *lines, ""])), f"line 51 of .*holds whole records up to line {51 + between}; close"
    )


def test_text_of_several_lines_is_a_cell(file):
    path = file('a,note\n1,"Dear Sir,\nthank you, and goodbye"\n2,"x\n\ny"\n3,z\n')
    assert column(path, "a") == [1, 2, 3]


# ---- the first line


@pytest.mark.parametrize(
    "content",
    [
        "".join(f"{k / 10},{k / 7:.1f},Iris-{k % 2}\n" for k in range(40, 100)),
        "".join(f"{k},{k * k},{'ab'[k % 2]}\n" for k in range(2, 60)),
        "p,x,s\nq,x,s\np,y,s\n",
        "2020-01-01,5.5,a\n2020-01-02,6.5,b\n",
        "5.5,Bob\n6.5,Eve\n",
    ],
)
def test_a_record_in_place_of_a_header(file, content):
    path = file(content)
    refused(path, "the first line of .* header=False, or say header=True")
    table = read(path, header=False)
    assert len(table) == content.count("\n")
    assert table.names[0] == "column 1"
    assert len(read(path, header=True)) == len(table) - 1


@pytest.mark.parametrize("header", ["country,1990,1991", "1990,y", "x1,x2", "Iris-0,y", "q,p,0.5"])
def test_a_header_that_looks_a_little_like_a_record(file, header):
    width = header.count(",") + 1
    assert read(file(f"{header}\n" + f"{','.join('897'[:width].ljust(width, '7'))}\n" * 9)).names == tuple(
        header.split(",")
    )


def test_a_title_above(file):
    content = "Sales of 2024\na;b;c\n1;2;3\n4;5;6\n"
    refused(file(content), r"a single name, but the next lines have 3 cells each .*semicolon.*skip_rows=1")
    assert column(file(content), "b", skip_rows=1) == [2, 5]
    refused(file("Report,2024\na,b,c\n1,2,3\n"), "line 2 of .* has 3 cells, the header 2 .*skip_rows=1")
    assert column(file("x\n\ny\na,b\n1,2\n"), "a", skip_rows=3) == [1]
    refused(file("t\na,b\n1,2\n3\n"), "line 4 of .* has 1 cell", skip_rows=1)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_what_excel_says_of_the_delimiter(file, delimiter):
    assert column(file(f"sep={delimiter}\r\na{delimiter}b\r\n1{delimiter}2\r\n"), "b") == [2]


# ---- ends


@pytest.mark.parametrize(
    "content", ["a,b,\n1,2,\n3,4,\n", "a,b\n1,2,\n3,4,\n", "a,b,,\n1,2\n3,4,,\n", "a,b\n1,2\n3,4, \n"]
)
def test_delimiters_behind_the_last_column(file, content):
    assert read(file(content)).names == ("a", "b")
    assert column(file(content), "b") == [2, 4]


def test_a_cell_behind_the_last_column_is_refused(file):
    refused(file("a,b,\n1,2,\n3,4,5\n"), "line 3 of .* has 3 cells, the header 2 names")


def test_an_empty_line_in_a_column_of_its_own_is_a_record(file):
    np.testing.assert_array_equal(column(file("a\n1\n\n3\n"), "a"), [1, np.nan, 3])
    assert column(file("a,b\n1,2\n\n3,4\n"), "a") == [1, 3]


@pytest.mark.parametrize("newline", ["\r", "\n", "\r\n"])
def test_any_line_end(file, newline):
    assert column(file(newline.join(["a,b", "1,2", "3,4", ""])), "b") == [2, 4]


# ---- several files


def test_all_files_of_a_table_are_read_alike(tmp_path):
    for name, rows in {"1.csv": ["1.234", "5"], "2.csv": ["1.234,5", "9"]}.items():
        (tmp_path / name).write_text("v;w\n" + "".join(f"{row};x\n" for row in rows))
    table = read(tmp_path)
    assert str(finding_of(table.columns["v"]).reading) == "1.234,5"
    assert np.asarray(table.columns["v"]).tolist() == [1234, 5, 1234.5, 9]
