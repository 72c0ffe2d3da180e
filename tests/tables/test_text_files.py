"""Text files as people have them: titles, no header, open quotes, too many delimiters. No record vanishes."""

import numpy as np
import pytest

from gdkernels.errors import InputError
from gdkernels.tables import read
from gdkernels.tables.column.column_data import finding_of
from gdkernels.tables.features.kinds import Choices, reread
from gdkernels.tables.read import findings_in


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
        ('"12" inch,2,ok', "line 51 of .*: a quote closes before its cell ends: .* the comma"),
    ],
)
def test_a_quote_that_never_ends(file, line, pattern):
    lines = [f"{k},{k * k},ok" for k in range(100)]
    lines[49] = line
    refused(file("\n".join(["a,y,note", *lines, ""])), pattern)


@pytest.mark.parametrize(
    ("header", "pattern"),
    [
        (' a ,"b"x, y', "the first line of .* a quote closes before its cell ends: .*between it and the comma"),
        ('"a";"b" x;y', "a quote closes before its cell ends: .*between it and the semicolon"),
        ("'a','b','y'", "names in single quotes, which are part of the names"),
        ("“a”,“b”,“y”", "names in typographic quotes"),
    ],
)
def test_quotes_that_csv_does_not_know(file, header, pattern):
    content = f"{header}\n" + "1,p,2\n3,q,4\n".replace(",", ";" if ";" in header else ",")
    refused(file(content), pattern)
    if header.count(",") == 2 and "closes" not in pattern:
        assert len(read(file(content), header=True)) == 2


@pytest.mark.parametrize(
    "content",
    [
        ' a ,"b" , y\n1,"p, q" , 2\n3,"say ""r"" , s",4\n',
        '"a" ;"b" ;"y"\n1;"p, q" ; 2\n3;"say ""r"" , s" ;"4" \n',
        ' "a" , "b" , "y" \r\n"1" , "p, q" , "2" \r\n "3" , "say ""r"" , s" , "4"\t\r\n',
        'a\tb\ty\n1\t"p, q" \t2\n3\t"say ""r"" , s" \t4\n',
    ],
)
def test_blanks_around_quotes_mean_nothing(file, content):
    path = file(content)
    assert (column(path, "a"), column(path, "y")) == ([1, 3], [2, 4])
    assert read(path).columns["b"].levels == ("p, q", 'say "r" , s')


def test_blanks_behind_a_quote_within_a_cell_of_several_lines_stay(file):
    path = file('b,y\n"one"  ,1\n"two\nlines "" , and" ,2\n"three"\t , 3\n')
    assert read(path).columns["b"].levels == ("one", "three", 'two\nlines " , and')
    refused(file('b,y\n"one" ,1\n"two,2\nthree,3\n'), "line 3 of .*: a quote that begins in this record never ends")


def test_text_that_a_spreadsheet_keeps(file):
    path = file('="a","=""n""",code\n="1.5",2,="007"\n"=""2.5""",3,="008"\n')
    assert column(path, "a") == [1.5, 2.5]
    assert column(path, "n") == [2, 3]
    assert read(path).columns["code"].levels == ("007", "008")


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
    refused(
        file('"Account:","x"\n"From:","y"\na,b,c\n1,2,3\n4,5,6\n'),
        "line 3 of .* 3 cells, .* say skip_rows=2 if it names",
    )
    refused(file("a,b\nr1,1,2\nr2,3,4\n"), "line 2 of .* has 3 cells, .*name of a record, as R writes them, name that")
    refused(file("|a|b|\n|---|:---:|\n|1|2|\n"), "a table for people to read, with a line of dashes below its header")
    refused(file("t\na,b\n1,2\n3\n"), "line 4 of .* has 1 cell", skip_rows=1)


@pytest.mark.parametrize(("title", "blank"), [("Sales\n\n", 1), ("Sales;;\n;;\n", 1), ("Sales;;\n", 0)])
def test_a_title_with_blank_lines_or_delimiters(file, title, blank, caplog):
    path = file(f"{title}a;b;c\n1;2;3\n4;5;6\n")
    refused(path, r"the first line of .* single name, but the next lines have 3 cells each .*skip_rows=1")
    assert column(path, "c", skip_rows=1) == [3, 6]
    assert [f"line 2 of {path}: blank, and skipped"] * blank == caplog.messages


@pytest.mark.parametrize(
    ("above", "lines"),
    [("\n", "line 1"), ("\r\n\r\n", "lines 1 to 2"), (" \t\n,,\n\n", "lines 1 to 3"), (";;\n", "line 1")],
)
def test_blank_lines_above_the_header_are_skipped_with_a_word(file, above, lines, caplog):
    path = file(f"{above}a,b\n1,2\n3,4\n")
    assert column(path, "b") == [2, 4]
    assert caplog.messages == [f"{lines} of {path}: blank, and skipped"]
    refused(file(f"{above}a,b\n1,2\n3\n"), f"line {above.count(chr(10)) + 3} of .* has 1 cell")


def test_a_record_of_gaps_is_no_blank_line(file):
    refused(file(",\n1,2\n"), "first line of .* no header", header=False)
    assert column(file("\n1,2\n"), "column 2", header=False) == [2]
    refused(file("\n1\n2\n"), "line 1 of .* is blank: in a single column, that may be a gap", header=False)


@pytest.mark.parametrize(
    ("above", "skip"),
    [("# of 2024\na,b,c\n", 1), ("# of 2024, by hand\n\n#\na,b,c\n", 3), ("# of 2024\n#a,b,c\n", 1)],
)
def test_comments_above_the_header(file, above, skip):
    path = file(f"{above}1,2,3\n4,5,6\n")
    refused(path, f"first line of .* begins with #, as comments do.*say skip_rows={skip} to begin with line {skip + 1}")
    assert column(path, "b", skip_rows=skip) == [2, 5]
    assert read(file("#a,b\n1,2\n")).names == ("#a", "b")


def test_a_comment_among_records(file):
    refused(file("a,b\n1,2\n# stop\n3,4\n"), "line 3 of .* has 1 cell, .*leave it out if it is a comment")


def test_quotes_behind_spaces(file):
    path = file('"a", "b c", "d"\n"1", "2", "x, y"\n"4", "5,5", "z"\n')
    table = read(path)
    assert table.names == ("a", "b c", "d")
    assert table.columns["d"].levels == ("x, y", "z")
    assert read(file('a, b\n1, x "y"\n2, "z" w\n')).columns["b"].levels == ('"z" w', 'x "y"')
    refused(file('"a", "b"\n1, "2"\n1, "2", 3\n'), "line 3 of .* has 3 cells")


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


# ---- what one column says of another


@pytest.mark.parametrize("commas", ["1,5", "1.234,5", "1.234.567"])
def test_points_beside_decimal_commas_are_a_doubt(file, commas):
    path = file(f"a;b;c\n1.234;{commas};1.25\n12.345;{commas};2.5\n")
    findings = {name: finding_of(c) for name, c in read(path).columns.items()}
    assert findings["a"].doubt.formats == ("1.234,5", "1234.5")
    assert findings["a"].doubt.message("a").startswith("'1.234' may have a point between its thousands, as another")
    assert str(findings["c"].reading) == "1234.5", "nothing else can be meant"
    assert findings_in(path)["a"] == findings["a"]
    for choices, wanted in (({"a": "1.234,5"}, [1234, 12345]), ({"a": "1234.5"}, [1.234, 12.345])):
        again = reread(read(path), Choices(read=choices, missing=["x"]))
        assert np.asarray(again.columns["a"]).tolist() == wanted
    assert finding_of(reread(read(path), Choices(missing=["x"])).columns["a"]).doubt is not None
    assert column(file("a;b\n1.234;1\n"), "a") == [1.234]


# ---- several files


def test_all_files_of_a_table_are_read_alike(tmp_path):
    for name, rows in {"1.csv": ["1.234", "5"], "2.csv": ["1.234,5", "9"]}.items():
        (tmp_path / name).write_text("v;w\n" + "".join(f"{row};x\n" for row in rows))
    table = read(tmp_path)
    assert str(finding_of(table.columns["v"]).reading) == "1.234,5"
    assert np.asarray(table.columns["v"]).tolist() == [1234, 5, 1234.5, 9]


def test_a_comma_in_a_table_that_has_decimal_commas(file):
    records = "".join(f'"{k},{k % 900 + 100}",a,"{k},{k % 90 + 10}"\n' for k in range(1, 40))
    found = findings_in(file("x,n,y\n" + records))
    assert found["x"].doubt is not None
    assert found["x"].doubt.formats == ("1,234.5", "1234,5")
    pointed = findings_in(file("x,n,y\n" + records.replace("a", "1.5")))  # no number contradicts the others here either
    assert pointed["x"].doubt is not None
    alone = findings_in(file("x,n\n" + "".join(f'"{k},{k % 900 + 100}",2.5\n' for k in range(1, 40))))
    assert (alone["x"].doubt, alone["x"].reading.format) == (None, "1,234.5")
