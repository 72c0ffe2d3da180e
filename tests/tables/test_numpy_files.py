"""NPY and NPZ files are tables of their arrays; damaged ones are refused, and nothing is ever unpickled."""

import pickle

import numpy as np
import pytest
from refusals import refused

from gdkernels.errors import GdkernelsError, InputError
from gdkernels.tables import Text, read

X = np.array([[1.5, -2.0], [3.0, 4e10], [0.0, 6.0]])
Y = np.array([1.0, 0.0, 1.0])


def values(table):
    """Return a table of numbers as one array."""
    return np.column_stack(list(table.columns.values()))


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int16, bool])
def test_npy(tmp_path, dtype):
    array = X.astype(dtype) if dtype is not np.int16 else np.array([[1, 2], [3, 4]], np.int16)
    np.save(tmp_path / "a.npy", array)
    table = read(tmp_path / "a.npy")
    np.testing.assert_array_equal(values(table), array)
    assert table.names == ("0", "1")


def test_npz(tmp_path):
    np.savez(tmp_path / "d.npz", X=X, Y=Y, other=np.array([None]))
    table = read(tmp_path / "d.npz")
    np.testing.assert_array_equal(values(table), np.column_stack([X, Y]))
    assert table.targets == ("Y",)
    np.savez(tmp_path / "x.npz", X=X)
    assert read(tmp_path / "x.npz").targets == ()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_with_columns_of_targets(tmp_path, save):
    save(tmp_path / "one.npz", X=X, Y=Y[:, None])
    save(tmp_path / "two.npz", X=X, Y=np.stack([Y, 2 * Y], axis=1))
    np.testing.assert_array_equal(read(tmp_path / "one.npz").columns["Y"], Y)
    two = read(tmp_path / "two.npz")
    assert two.targets == ("Y0", "Y1")
    np.testing.assert_array_equal(two.columns["Y1"], 2 * Y)


def test_one_hot_rows_are_classes(tmp_path):
    np.savez(tmp_path / "hot.npz", X=X, Y=np.eye(3)[[2, 0, 1]])
    column = read(tmp_path / "hot.npz").columns["Y"]
    assert isinstance(column, Text)
    assert column.codes.tolist() == [2, 0, 1]


@pytest.mark.parametrize(
    ("array", "pattern"),
    [
        (X[0], r"\[records, columns\], not one of shape \[2\]"),
        (X[None], r"not one of shape \[1, 3, 2\]"),
        (X[:0], "no records"),
        (X.astype(str), "must hold numbers, not <U32"),
        (X + 1j, "must hold numbers, not complex128"),
        (np.zeros(3, "f8,f8"), "must hold numbers"),
        (np.array([[1, None]]), "holds Python objects; only numbers"),
    ],
)
def test_bad_npy(tmp_path, array, pattern):
    np.save(tmp_path / "a.npy", array)
    refused(tmp_path / "a.npy", pattern)


@pytest.mark.parametrize(
    ("arrays", "pattern"),
    [
        ({"x": X, "y": Y}, "must hold the arrays X and Y; it holds 'x', 'y'"),
        ({}, "it holds none"),
        ({"X": X, "Y": Y[:2]}, "X has 3, Y has 2"),
        ({"X": Y, "Y": Y}, r"X in .* not \[3\]"),
        ({"X": X, "Y": X[None]}, r"Y in .* not \[1, 3, 2\]"),
        ({"X": X, "Y": X[:, :0]}, r"Y in .* not \[3, 0\]"),
        ({"X": X[:0], "Y": Y[:0]}, "no records"),
        ({"X": X, "Y": np.array(["a", "b", "c"])}, "Y in .* must hold numbers, not <U1"),
        ({"X": X, "Y": np.array([None] * 3)}, "holds Python objects"),
    ],
)
def test_bad_npz(tmp_path, arrays, pattern):
    np.savez(tmp_path / "d.npz", **arrays)
    refused(tmp_path / "d.npz", pattern)


def test_nothing_is_unpickled(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", np.array([[1, None]]))
    np.savez(tmp_path / "d.npz", X=np.array([[None]]), Y=Y[:1])
    (tmp_path / "p.csv").write_bytes(pickle.dumps([1, 2]))

    def refuse(*_, **__):
        raise AssertionError("unpickled")

    monkeypatch.setattr(pickle, "load", refuse)
    monkeypatch.setattr(pickle, "loads", refuse)
    for name in ("a.npy", "d.npz", "p.csv"):
        with pytest.raises(InputError):
            read(tmp_path / name)


@pytest.mark.parametrize("kind", ["npy", "npz", "compressed"])
def test_damaged_arrays_are_read_or_refused(tmp_path, kind):
    path = tmp_path / "d"
    with path.open("wb") as file:
        if kind == "npy":
            np.save(file, X)
        else:
            (np.savez if kind == "npz" else np.savez_compressed)(file, X=X, Y=Y)
    data = path.read_bytes()
    refusals = 0
    generator = np.random.default_rng(0)
    for position in range(len(data)):
        damaged = [data[:position], data[:position] + bytes([generator.integers(256)]) + data[position + 1 :]]
        for content in damaged:
            path.write_bytes(content)
            try:
                read(path)
            except GdkernelsError as error:
                assert "\n" not in str(error)  # noqa: PT017
                refusals += 1
    assert refusals >= len(data) / 2
