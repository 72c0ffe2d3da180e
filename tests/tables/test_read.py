"""Tables are read as they are, or refused in one line that says where they are wrong."""

import csv
import errno
import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import refused

from gdkernels.errors import FileError, GdkernelsError, InputError
from gdkernels.tables import Text, parts, read
from gdkernels.tables.column.column_data import finding_of

X = np.array([[1.5, -2.0], [3.0, 4e10], [0.0, 6.0]])
Y = np.array([1.0, 0.0, 1.0])


def values(table):
    """Return a table of numbers as one array."""
    return np.column_stack(list(table.columns.values()))


def csv_file(tmp_path, content):
    path = tmp_path / "t.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# ---- CSV


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_csv(tmp_path, delimiter, newline, start):
    rows = [["a", "target", '"b c"'], ["1.5", "1", '"-2"'], [], [" 3 ", "0", "4e10"], ["0", "1", "6"]]
    path = csv_file(tmp_path, start + newline.join(delimiter.join(row) for row in rows))
    table = read(path)
    assert table.names == ("a", "target", "b c")
    np.testing.assert_array_equal(values(table), np.column_stack([X[:, 0], Y, X[:, 1]]))
    assert table.source == str(path)


def test_a_delimiter_inside_quotes_divides_nothing(tmp_path):
    assert read(csv_file(tmp_path, '"a,b,c";y\n1;2\n')).names == ("a,b,c", "y")


def test_a_header_longer_than_a_cell_may_be(tmp_path):
    names = [f"gene-{k:0100}" for k in range(2_000)]
    path = csv_file(tmp_path, "\t".join(names) + "\n" + "\t".join(["1"] * 2_000))
    assert len("\t".join(names)) > csv.field_size_limit()
    assert len(read(path).columns) == 2_000


@settings(max_examples=50)
@given(st.lists(st.tuples(*[st.floats(allow_nan=False, allow_infinity=False)] * 3), min_size=1))
def test_csv_is_read_to_the_last_bit(tmp_path_factory, rows):
    path = tmp_path_factory.getbasetemp() / "bits.csv"
    path.write_text("a,b,y\n" + "".join(",".join(map(repr, row)) + "\n" for row in rows))
    np.testing.assert_array_equal(values(read(path)), np.array(rows))


@pytest.mark.parametrize(
    ("content", "pattern"),
    [
        ("", "is empty"),
        ("\n \n,,\n", "first line .* no header"),
        ("\n1,2\n", "line 2 of .* holds numbers where the names of the columns belong"),
        ("a,y\n", "a header and no records"),
        ("a,y\n\n\n", "a header and no records"),
        ("1,2\n3,4\n", "holds numbers where the names of the columns belong"),
        ("a,a,y\n1,2,3\n", "columns 1 and 2 of .* both named 'a'"),
        ("a,,y\n1,2,3\n", "column 2 of .* has no name"),
        ("a,y\n1,2\n3\n", r"line 3 of .* has 1 cell, the header 2 names \(delimiter: comma\)"),
        ("a,y\n1,2\n3,4,5\n", "line 3 of .* has 3 cells, the header 2 names"),
        ("a;y\n1;2;3\n4;5;6\n", r"line 2 of .* has 3 cells, .*semicolon"),
        ("a,y\n" + "1" * 200_000 + ",x\n", "line 2 of .*: field larger than field limit"),
        ("z" * 200_000 + ",y\n1,2\n", "first line of .* is no header: field larger than field limit"),
        (b"a,y\n1,\x81\n", r"neither text in UTF-8 or Windows-1252 \(byte 6 is not\), nor an NPY.*save it as CSV"),
        ("a,y\n1,2\n".encode("utf-16")[:-1], "neither text in UTF-8"),
        ("a,y\n1,2\n".encode("utf-16-le"), "neither text in UTF-8"),
        (b"a,y\n1,\0\n", r"neither text .*byte 6 "),
    ],
)
def test_bad_csv_names_the_place(tmp_path, content, pattern):
    refused(csv_file(tmp_path, content), pattern)


def test_the_line_is_that_of_an_editor_also_after_quoted_line_ends(tmp_path):
    refused(csv_file(tmp_path, '"a\nb",y\n1,2\n3\n'), "line 4 of")


@settings(max_examples=300)
@given(st.text(alphabet='ay,;\t"\n\r1.5e- x\0ä', max_size=40))
def test_any_text_is_read_or_refused(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(text.encode())
    try:
        table = read(path)
    except GdkernelsError as error:
        assert str(path) in str(error)  # noqa: PT017
    else:
        assert {len(column) for column in table.columns.values()} == {len(table)}


@pytest.mark.parametrize("options", [{"skip_rows": 2}, {"header": False}])
@pytest.mark.parametrize("kind", ["penguins", "npy", "npz"])
def test_options_for_text_are_refused_where_they_would_do_nothing(tmp_path, monkeypatch, kind, options):
    monkeypatch.chdir(tmp_path)
    np.save("npy", X)
    np.savez(tmp_path / "npz.npz", X=X, Y=Y)
    name = "npz.npz" if kind == "npz" else "npy.npy" if kind == "npy" else kind
    with pytest.raises(InputError, match=f"{next(iter(options))}=.* is for text files, and {name}.* is none: leave it"):
        read(name, **options)
    assert len(read(name, header=True))


# ---- files and names


def test_built_in_sets():
    digits, diabetes = read("digits"), read("diabetes")
    assert (len(digits), len(digits.names), digits.targets) == (1797, 65, ("digit",))
    assert set(digits.columns["digit"]) == set(range(10))
    assert (len(diabetes), diabetes.targets) == (442, ("progression",))
    assert diabetes.names[:3] == ("age", "sex", "bmi")


def test_the_penguins_come_along():
    penguins = read("penguins")
    assert (len(penguins), len(penguins.names), penguins.targets) == (344, 17, ("Species",))
    assert np.isnan(penguins.columns["Body Mass (g)"]).sum() == 2


def test_without_scikit_learn_the_command_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    refused("digits", r'run pip install "gdkernels\[sklearn\]"')


def test_a_file_may_have_the_name_of_a_built_in_set(tmp_path, monkeypatch):
    (tmp_path / "digits").write_text("a,y\n1,2\n")
    monkeypatch.chdir(tmp_path)
    assert read("./digits").columns["y"].tolist() == [2]


def test_missing_files_and_folders(tmp_path):
    refused(tmp_path / "no.csv", "no file .*built-in data sets are diabetes, digits, penguins", error=FileError)
    refused(tmp_path, "folder .* holds no table", error=FileError)


def test_what_cannot_be_read_is_refused(tmp_path, monkeypatch):
    (tmp_path / "t.csv").write_text("a,y\n1,2\n")

    def fail(self, *_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", fail)
    refused(tmp_path / "t.csv", "cannot read .*t.csv: permission denied", error=FileError)


def test_what_does_not_fit_into_memory_is_refused(tmp_path):
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 1000), }"
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    refused(tmp_path / "a.npy", "does not fit into memory|damaged")


# ---- columns as they are in life

RAW = "name,size,when,y\nann, 1.5 ,2020-01-02,1\nbob,NA,,0\n?,3,2020-01-03,1\n"


def raw(table):
    """Return a table as lists."""
    return {
        name: [None if c < 0 else column.levels[c] for c in column.codes]
        if isinstance(column, Text)
        else [None if v != v else v for v in column.tolist()]  # noqa: PLR0124
        for name, column in table.columns.items()
    }


EXPECTED = {
    "name": ["ann", "bob", None],
    "size": [1.5, None, 3.0],
    "when": ["2020-01-02", None, "2020-01-03"],
    "y": [1.0, 0.0, 1.0],
}


@pytest.mark.parametrize("missing", ["", "NA", "N/A", "NaN", "nan", "null", "NULL", "?"])
def test_what_stands_for_nothing_is_a_gap(tmp_path, missing):
    assert raw(read(csv_file(tmp_path, RAW.replace("NA", missing)))) == EXPECTED


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_delimiters(tmp_path, delimiter):
    assert raw(read(csv_file(tmp_path, RAW.replace(",", delimiter)))) == EXPECTED


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_encodings_are_found(tmp_path, encoding, caplog):
    path = csv_file(tmp_path, "größe,y\nstraße,1\n".encode(encoding))
    assert raw(read(path)) == {"größe": ["straße"], "y": [1]}
    assert bool(caplog.records) == (encoding == "cp1252")
    assert all("read as Windows-1252" in record.getMessage() for record in caplog.records)


def test_gzip_and_zstd(tmp_path):
    import gzip

    zstd = importlib.import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")

    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(RAW.encode()))
    (tmp_path / "t.csv.zst").write_bytes(zstd.compress(RAW.encode()))
    assert raw(read(tmp_path / "t.csv.gz")) == raw(read(tmp_path / "t.csv.zst")) == EXPECTED
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(RAW.encode())[:-12])
    refused(tmp_path / "cut.csv.gz", "cannot read .*cut")
    (tmp_path / "cut.csv.zst").write_bytes(zstd.compress(RAW.encode())[:-4])
    refused(tmp_path / "cut.csv.zst", "cannot read .*cut")


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "feather"])
def test_parquet_and_arrow(tmp_path, suffix):
    import polars as pl

    frame = pl.read_csv(RAW.encode(), null_values=["NA", "?"], try_parse_dates=True).with_columns(
        pl.col("size").str.strip_chars().cast(pl.Float32), pl.col("y").cast(pl.Int8), flag=pl.lit(value=True)
    )
    path = tmp_path / f"t.{suffix}"
    frame.write_parquet(path) if suffix == "parquet" else frame.write_ipc(path)
    assert raw(read(path)) == EXPECTED | {"flag": ["true"] * 3}
    path.write_bytes(path.read_bytes()[:-9])
    refused(path, "cannot read .* damaged")
    (frame.select(x=pl.concat_list("y", "y"))).write_parquet(path)
    assert finding_of(read(path).columns["x"]).unread == "holds List(Int8), neither numbers nor text"


def test_without_polars_the_command_is_said(tmp_path, monkeypatch):
    (tmp_path / "t.parquet").write_bytes(b"PAR1 and more")
    (tmp_path / "t.csv.zst").write_bytes(b"\x28\xb5\x2f\xfd and more")
    monkeypatch.setitem(sys.modules, "polars", None)
    monkeypatch.setitem(sys.modules, "compression.zstd", None)
    monkeypatch.setitem(sys.modules, "backports.zstd", None)
    for name in ("t.parquet", "t.csv.zst"):
        refused(tmp_path / name, r'run pip install "gdkernels\[tables\]"')
    assert raw(read(csv_file(tmp_path, RAW))) == EXPECTED


def test_several_files_and_folders_are_one_table(tmp_path):
    header, *rows = RAW.splitlines(keepends=True)
    for k, row in enumerate(rows):
        (tmp_path / f"{k}.csv").write_text(header + row)
    assert raw(read(tmp_path)) == raw(read([tmp_path / f"{k}.csv" for k in range(3)])) == EXPECTED
    assert read([tmp_path / "0.csv", tmp_path / "1.csv"]).source == f"{tmp_path / '0.csv'} and 1 more"
    (tmp_path / "3.csv").write_text("name,size,y\na,2,3\n")
    refused(tmp_path, "3.csv lacks the column 'when'; files of one table have the same columns")


@pytest.mark.parametrize("records", [1, 2, 3, 5])
def test_in_parts_is_the_same(tmp_path, records):
    found = list(parts(csv_file(tmp_path, RAW), records))
    assert sum(len(part) for part in found) == 3
    assert all(len(part) <= records for part in found)
    assert [part.first for part in found if len(part)] == list(range(0, 3, records))
    assert [cell for part in found for cell in raw(part)["size"]] == EXPECTED["size"]


def test_an_index_without_a_name_is_named(tmp_path):
    assert read(csv_file(tmp_path, ",a\n0,5\n")).names == ("column 1", "a")


def test_a_decimal_comma_where_the_semicolon_divides(tmp_path):
    assert raw(read(csv_file(tmp_path, "a;b\n1,5;x\n-2;y\n")))["a"] == [1.5, -2]
    assert raw(read(csv_file(tmp_path, 'a,b\n"1,5",x\n-2,y\n')))["a"] == [1.5, -2]


def test_reading_shows_how_many_records_a_second_where_it_is_asked_to(tmp_path, capsys):
    (tmp_path / "t.csv").write_text("a,b\n" + "1,2\n" * 300)
    assert len(read([tmp_path / "t.csv"] * 2)) == 600
    assert capsys.readouterr().err == ""
    read([tmp_path / "t.csv"] * 2, progress=True)
    shown = capsys.readouterr().err
    assert "reading: 600 records" in shown
    assert "records/s" in shown
