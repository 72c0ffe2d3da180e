"""Tables are read as they are, or refused in one line that says where they are wrong."""

import errno
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gdkernels.errors import FileError, GdkernelsError, InputError
from gdkernels.tables import read_table

X = np.array([[1.5, -2.0], [3.0, 4e10], [0.0, 6.0]])
Y = np.array([1.0, 0.0, 1.0])


def refused(path, pattern, target=None, error=InputError):
    with pytest.raises(error, match=pattern) as caught:
        read_table(path, target)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


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
    table = read_table(path, "target")
    np.testing.assert_array_equal(table.x, X)
    np.testing.assert_array_equal(table.y, Y)
    assert table.columns == ("a", "b c")
    assert (table.target, table.source) == ("target", str(path))
    assert table.x.dtype == table.y.dtype == np.float64


def test_a_delimiter_inside_quotes_divides_nothing(tmp_path):
    assert read_table(csv_file(tmp_path, '"a,b,c";y\n1;2\n'), "y").columns == ("a,b,c",)


def test_a_header_longer_than_a_cell_may_be(tmp_path):
    names = [f"gene-{k:06}" for k in range(20_000)]
    path = csv_file(tmp_path, "\t".join(names) + "\n" + "\t".join(["1"] * 20_000))
    assert len(read_table(path, names[7]).columns) == 19_999


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(*[st.floats(allow_nan=False, allow_infinity=False)] * 3), min_size=1))
def test_csv_is_read_to_the_last_bit(tmp_path_factory, rows):
    path = tmp_path_factory.getbasetemp() / "bits.csv"
    path.write_text("a,b,y\n" + "".join(",".join(map(repr, row)) + "\n" for row in rows))
    table = read_table(path, "y")
    np.testing.assert_array_equal(np.column_stack([table.x, table.y]), np.array(rows))


@pytest.mark.parametrize(
    ("content", "pattern"),
    [
        ("", "is empty"),
        ("\n1,2\n", "first line .* no header"),
        ("a,y\n", "a header and no records"),
        ("a,y\n\n\n", "a header and no records"),
        ("1,2\n3,4\n", "holds numbers where the names of the columns belong"),
        ("a,a,y\n1,2,3\n", "columns 1 and 2 of .* both named 'a'"),
        ("a,,y\n1,2,3\n", "column 2 of .* has no name"),
        ("y\n1\n", "no column besides the target 'y'"),
        ("a,y\n1,2\n3\n", r"line 3 of .* has 1 cell, the header 2 names \(delimiter: comma\)"),
        ("a,y\n1,2\n3,4,5\n", "line 3 of .* has 3 cells, the header 2 names"),
        ("a;y\n1;2;3\n4;5;6\n", r"line 2 of .* has 3 cells, .*semicolon"),
        ("a,y\n1,2\n\n3,blue\n", "line 4 of .*, column 'y': 'blue' is not a number"),
        ("a,y\n1,2\n,4\n", "line 3 of .*, column 'a': the cell is empty"),
        ("a,y\n1,2\n3,nan\n", "line 3 of .*, column 'y': 'nan' is not a finite number"),
        ("a,y\n-inf,2\n", "line 2 of .*, column 'a': '-inf' is not a finite number"),
        ("a,y\n1,1e999\n", "line 2 of .*, column 'y': '1e999' is not a finite number"),
        ("a;y\n1,5;2\n", "column 'a': '1,5' is not a number .*decimal point, not a comma"),
        ("a,y\n1_0,2\n", "column 'a': '1_0' is not a number"),
        ("a,y\n1,２\n", "column 'y': '２' is not a number"),
        ("a,y\n1," + "z" * 5000, "line 2 of .*, column 'y': 'z{40}…' is not a number"),
        ("a,y\n" + "1" * 200_000 + ",x\n", "line 2 of .*: field larger than field limit"),
        ("z" * 200_000 + ",y\n1,2\n", "first line of .* is no header: field larger than field limit"),
        (b"a,y\n1,\xff\n", r"neither text in UTF-8 \(byte 6 is not\), nor an NPY or NPZ file"),
        ("a,y\n1,2\n".encode("utf-16"), "neither text in UTF-8"),
        (b"a,y\n1,\0\n", "column 'y': .* is not a number"),
    ],
)
def test_bad_csv_names_the_place(tmp_path, content, pattern):
    refused(csv_file(tmp_path, content), pattern, "y")


def test_the_line_is_that_of_an_editor_also_after_quoted_line_ends(tmp_path):
    refused(csv_file(tmp_path, '"a\nb",y\n1,2\n3,x\n'), "line 4 of", "y")


def test_a_missing_target_offers_the_closest(tmp_path):
    path = csv_file(tmp_path, "Price,rooms,age\n1,2,3\n")
    refused(path, r"no column 'price'\. Did you mean 'Price'\? It has Price, rooms, age", "price")
    refused(path, r"no column 'agee'\. Did you mean 'age'\?", "agee")
    refused(path, r"no column 'xyz'\. It has", "xyz")
    refused(path, r"--target COLUMN; it has Price, rooms, age")


def test_many_columns_are_not_all_listed(tmp_path):
    path = csv_file(tmp_path, ",".join(f"c{k}" for k in range(300)) + "\n")
    refused(path, r"c0, .*c11, … \(300 in all\)$", "y")


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet='ay,;\t"\n\r1.5e- x\0ä', max_size=40))
def test_any_text_is_read_or_refused(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(text.encode())
    try:
        table = read_table(path, "y")
    except GdkernelsError as error:
        assert str(path) in str(error)  # noqa: PT017
    else:
        assert np.isfinite(table.x).all()
        assert table.x.shape == (len(table.y), len(table.columns))


# ---- NPY and NPZ


@pytest.mark.parametrize(("target", "column"), [("0", 0), ("1", 1), ("-1", 1)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int16, bool])
def test_npy(tmp_path, target, column, dtype):
    array = X.astype(dtype) if dtype is not np.int16 else np.array([[1, 2], [3, 4]], np.int16)
    np.save(tmp_path / "a.npy", array)
    table = read_table(tmp_path / "a.npy", target)
    np.testing.assert_array_equal(table.y, array[:, column])
    np.testing.assert_array_equal(table.x, array[:, [1 - column]])
    assert table.columns == (str(1 - column),)
    assert table.target == str(column)
    assert table.x.dtype == np.float64


def test_npz(tmp_path):
    np.savez(tmp_path / "d.npz", X=X, Y=Y, other=np.array([None]))
    table = read_table(tmp_path / "d.npz")
    np.testing.assert_array_equal(table.x, X)
    np.testing.assert_array_equal(table.y, Y)
    assert table.target == "Y"


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_with_columns_of_targets(tmp_path, save):
    save(tmp_path / "one.npz", X=X, Y=Y[:, None])
    save(tmp_path / "two.npz", X=X, Y=np.stack([Y, 2 * Y], axis=1))
    np.testing.assert_array_equal(read_table(tmp_path / "one.npz").y, Y)
    np.testing.assert_array_equal(read_table(tmp_path / "two.npz").y, np.stack([Y, 2 * Y], axis=1))


@pytest.mark.parametrize("target", [None, "2", "-3", "a", "1.0"])
def test_npy_needs_the_number_of_a_column(tmp_path, target):
    np.save(tmp_path / "a.npy", X)
    refused(tmp_path / "a.npy", "it has 0 to 1" if target is None else "no column .* It has 0 to 1", target)


@pytest.mark.parametrize(
    ("array", "pattern"),
    [
        (X[0], r"\[records, columns\], not one of shape \[2\]"),
        (X[None], r"not one of shape \[1, 3, 2\]"),
        (X[:, :1], "no column besides the target '0'"),
        (X[:0], "holds no records"),
        (X.astype(str), "must hold numbers, not <U32"),
        (X + 1j, "must hold numbers, not complex128"),
        (np.zeros(3, "f8,f8"), "must hold numbers"),
        (np.where(X == 3, np.nan, X), r"the value nan at \[1, 0\], the first of 1 that are not finite"),
        (np.array([[1, None]]), "holds Python objects; only numbers"),
    ],
)
def test_bad_npy(tmp_path, array, pattern):
    np.save(tmp_path / "a.npy", array)
    refused(tmp_path / "a.npy", pattern, "0")


@pytest.mark.parametrize(
    ("arrays", "pattern"),
    [
        ({"x": X, "y": Y}, "must hold the arrays X and Y; it holds x, y"),
        ({}, "it holds none"),
        ({"X": X, "Y": Y[:2]}, "X has 3, Y has 2"),
        ({"X": Y, "Y": Y}, r"X in .* not \[3\]"),
        ({"X": X, "Y": X[None]}, r"Y in .* not \[1, 3, 2\]"),
        ({"X": X, "Y": X[:, :0]}, r"Y in .* not \[3, 0\]"),
        ({"X": X[:, :0], "Y": Y}, "no column besides the target 'Y'"),
        ({"X": X[:0], "Y": Y[:0]}, "holds no records"),
        ({"X": X, "Y": np.array(["a", "b", "c"])}, "Y in .* must hold numbers, not <U1"),
        ({"X": X, "Y": np.array([1, np.inf, np.nan])}, r"Y in .* the value inf at \[1\], the first of 2"),
        ({"X": X, "Y": np.array([None] * 3)}, "holds Python objects"),
    ],
)
def test_bad_npz(tmp_path, arrays, pattern):
    np.savez(tmp_path / "d.npz", **arrays)
    refused(tmp_path / "d.npz", pattern)


def test_npz_takes_no_target(tmp_path):
    np.savez(tmp_path / "d.npz", X=X, Y=Y)
    refused(tmp_path / "d.npz", "as Y; leave out --target", "Y")


def test_nothing_is_unpickled(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", np.array([[1, None]]))
    np.savez(tmp_path / "d.npz", X=np.array([[None]]), Y=Y[:1])
    (tmp_path / "p.csv").write_bytes(pickle.dumps([1, 2]))

    def refuse(*_, **__):
        raise AssertionError("unpickled")

    monkeypatch.setattr(pickle, "load", refuse)
    monkeypatch.setattr(pickle, "loads", refuse)
    for name, target in (("a.npy", "0"), ("d.npz", None), ("p.csv", "y")):
        with pytest.raises(InputError):
            read_table(tmp_path / name, target)


@pytest.mark.parametrize("kind", ["npy", "npz", "compressed"])
def test_damaged_arrays_are_read_or_refused(tmp_path, kind):
    path = tmp_path / "d"
    with path.open("wb") as file:
        if kind == "npy":
            np.save(file, X)
        else:
            (np.savez if kind == "npz" else np.savez_compressed)(file, X=X, Y=Y)
    data, target = path.read_bytes(), "0" if kind == "npy" else None
    refusals = 0
    generator = np.random.default_rng(0)
    for position in range(len(data)):
        damaged = [data[:position], data[:position] + bytes([generator.integers(256)]) + data[position + 1 :]]
        for content in damaged:
            path.write_bytes(content)
            try:
                assert np.isfinite(read_table(path, target).x).all()
            except GdkernelsError as error:
                assert "\n" not in str(error)  # noqa: PT017
                refusals += 1
    assert refusals >= len(data)


# ---- files and names


def test_built_in_sets():
    digits, diabetes = read_table("digits"), read_table("diabetes")
    assert digits.x.shape == (1797, 64)
    assert set(digits.y) == set(range(10))
    assert diabetes.x.shape == (442, 10)
    assert diabetes.columns[:3] == ("age", "sex", "bmi")
    assert (digits.source, diabetes.source) == ("digits", "diabetes")


def test_built_in_sets_bring_their_target():
    assert read_table("digits", "digit").target == "digit"
    refused("digits", "leave out --target", "age")


def test_without_scikit_learn_the_command_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    refused("digits", r'run pip install "gdkernels\[sklearn\]"')


def test_a_file_may_have_the_name_of_a_built_in_set(tmp_path, monkeypatch):
    (tmp_path / "digits").write_text("a,y\n1,2\n")
    monkeypatch.chdir(tmp_path)
    assert read_table("./digits", "y").y.tolist() == [2]


def test_missing_files_and_folders(tmp_path):
    refused(tmp_path / "no.csv", "no file .*built-in data sets are diabetes and digits", error=FileError)
    refused(tmp_path, "not a file but a folder", error=FileError)


def test_what_cannot_be_read_is_refused(tmp_path, monkeypatch):
    (tmp_path / "t.csv").write_text("a,y\n1,2\n")

    def fail(self, *_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", fail)
    refused(tmp_path / "t.csv", "cannot read .*t.csv: permission denied", "y", error=FileError)


def test_what_does_not_fit_into_memory_is_refused(tmp_path):
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 1000), }"
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    refused(tmp_path / "a.npy", "does not fit into memory|damaged", "0")
