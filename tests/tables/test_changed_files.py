"""Files that are cut short, written to, replaced or removed while they are read: refused, and nothing comes of them."""

import gzip
import os
from importlib import import_module
from importlib.util import find_spec

import numpy as np
import pytest
from made_up import made_up, write_csv

import gdkernels as gd

reading = import_module("gdkernels.tables.read")  # the package has a function of that name

ROWS = 3000


def write(path):
    """Write a table of three columns in the format of the path."""
    x = np.random.default_rng(0).normal(size=(ROWS, 3))
    text = "\n".join(["a,b,c", *(",".join(map(repr, row)) for row in x.tolist()), ""]).encode()
    if path.suffix == ".npy":
        np.save(path, x)
    elif path.suffix == ".npz":
        np.savez(path, X=x)
    elif path.suffix in (".parquet", ".arrow"):
        polars = pytest.importorskip("polars")
        frame = polars.DataFrame(x, schema=["a", "b", "c"])
        frame.write_parquet(path, row_group_size=500) if path.suffix == ".parquet" else frame.write_ipc(path)
    else:
        path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


def append(path):
    with path.open("ab") as file:
        file.write(b"1,2,3\n")


def overwrite(path):
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"7")


def replace(path):
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)


def empty(path):
    path.write_bytes(b"")


def remove(path):
    path.unlink()


CHANGES = [cut, append, overwrite, replace, empty, remove]
NAMES = ["t.csv", "t.csv.gz", "t.npy", "t.npz", *(["t.parquet", "t.arrow"] if find_spec("polars") else [])]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", NAMES)
def test_after_its_kind_was_looked_at(tmp_path, monkeypatch, name, change):
    path, real = write(tmp_path / name), reading._start

    def start(path):
        found = real(path)
        change(path)
        return found

    assert len(gd.tables.read(path)) == ROWS
    monkeypatch.setattr(reading, "_start", start)
    with pytest.raises(gd.FileError, match=rf"^.*{name} was changed while it was read; read it again when"):
        gd.tables.read(path)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", [n for n in NAMES if "np" not in n])
def test_between_two_parts(tmp_path, name, change):
    parts = gd.tables.parts(write(tmp_path / name), records=1000)
    assert len(next(parts)) == 1000
    change(tmp_path / name)
    with pytest.raises(gd.FileError, match="was changed while it was read"):
        list(parts)


def test_predictions_of_it_are_not_written(tmp_path, monkeypatch, capsys):
    from gdkernels.cli import main
    from gdkernels.tabular.model.prediction import PreparedNetwork

    monkeypatch.setenv("GDKERNELS_BACKEND", "numpy")
    table = write_csv(tmp_path / "t.csv", *made_up())
    assert main(["train", str(table), "--target", "y", "--epochs", "2", "--out", str(tmp_path / "m")]) == 0
    real = PreparedNetwork.in_pieces

    def in_pieces(self, part):
        append(table)
        return real(self, part)

    monkeypatch.setattr(PreparedNetwork, "in_pieces", in_pieces)
    capsys.readouterr()
    assert main(["predict", str(tmp_path / "m"), str(table), "--out", str(tmp_path / "p.csv")]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "t.csv was changed while it was read" in err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m", "t.csv"]
