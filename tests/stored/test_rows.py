"""Rows of arrays in files: what NumPy would give, and errors of ours for what it would not."""

import os

import numpy as np
import pytest

from gdkernels.errors import FileError, InputError
from gdkernels.files.arrays import FileRows, members_of, rows_of

ARRAY = np.arange(60_000 * 5, dtype="f4").reshape(60_000, 5)


@pytest.fixture
def path(tmp_path):
    np.save(tmp_path / "a.npy", ARRAY)
    return tmp_path / "a.npy"


@pytest.mark.parametrize("dtype", ["f4", ">f8", "i2", "?"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("columns", [None, 1, 4])
def test_files_of_every_layout(tmp_path, dtype, order, columns):
    shape = (301,) if columns is None else (301, columns)
    array = np.asarray(np.random.default_rng(0).integers(0, 2, shape), dtype, order=order)
    np.save(tmp_path / "a.npy", array)
    rows = rows_of(tmp_path / "a.npy", "X")
    assert (rows.shape, rows.dtype) == (array.shape, array.dtype)
    for start, stop in ((0, 301), (7, 8), (100, 250), (5, 5)):
        np.testing.assert_array_equal(rows.read(start, stop), array[start:stop])


@pytest.mark.parametrize("part", [np.s_[:], np.s_[40_000:], np.s_[100:, 1:3], np.s_[:, 4], np.s_[::3, ::2]])
def test_maps_and_parts_of_them_are_read_from_the_file(path, part):
    mapped = np.load(path, mmap_mode="r")[part]
    rows = rows_of(mapped, "X")
    assert isinstance(rows, FileRows)
    np.testing.assert_array_equal(rows.read(3, 900), ARRAY[part][3:900])
    raw = np.memmap(path, "f4", mode="r", offset=128 + 4 * 5 * 30_000, shape=(30_000, 5))[10:]
    np.testing.assert_array_equal(rows_of(raw, "X").read(0, 50), ARRAY[30_010:30_060])


def test_what_is_in_memory_is_taken_from_there(path):
    mapped = np.load(path, mmap_mode="r")
    assert not isinstance(rows_of(mapped + 1, "X"), FileRows)
    np.testing.assert_array_equal(rows_of((mapped + 1)[5:], "X").read(0, 2), ARRAY[5:7] + 1)


def test_members_of_an_archive(tmp_path):
    np.savez(tmp_path / "a.npz", X=ARRAY, Y=ARRAY[:, 0])
    members = members_of(tmp_path / "a.npz")
    assert set(members) == {"X", "Y"}
    np.testing.assert_array_equal(members["X"].read(59_990, 60_000), ARRAY[59_990:])
    np.testing.assert_array_equal(members["Y"].read(5, 9), ARRAY[5:9, 0])
    np.savez_compressed(tmp_path / "b.npz", X=ARRAY)
    with pytest.raises(InputError, match=r"b.npz is compressed, so .* numpy.savez"):
        members_of(tmp_path / "b.npz")


def test_what_is_no_array_of_numbers(tmp_path, path):
    for content in (b"", b"PK", b"PK\x03\x04 and more", b"\x93NUMPY\x01\x00\xff\xff{'descr"):
        (tmp_path / "bad").write_bytes(content)
        for read in (members_of, lambda p: rows_of(p, "X")):
            with pytest.raises(InputError, match="cannot read .*bad"):
                read(tmp_path / "bad")
    with pytest.raises(FileError, match="none: no such file"):
        rows_of(tmp_path / "none", "X")
    np.save(tmp_path / "o.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(InputError, match="X holds object values, not real numbers"):
        rows_of(tmp_path / "o.npy", "X")
    np.save(tmp_path / "three.npy", np.zeros((2, 2, 2)))
    with pytest.raises(InputError, match=r"must have the shape \[records\] or \[records, columns\]"):
        rows_of(tmp_path / "three.npy", "X")
    os.truncate(path, 1000)
    with pytest.raises(FileError, match=r"cut short: 1,000 of 1,200,128 bytes"):
        rows_of(path, "X")


def test_a_file_that_changes_while_it_is_read(path):
    rows = rows_of(path, "X")
    rows.read(0, 10)
    with path.open("r+b") as file:
        file.seek(5000)
        file.write(b"x")
    with pytest.raises(FileError, match="was changed while it was read"):
        rows.read(0, 10)
    rows = rows_of(path, "X")
    os.truncate(path, 1000)
    with pytest.raises(FileError, match="was cut short while it was read"):
        rows.read(100, 200)
