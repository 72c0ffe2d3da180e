"""Training from tables larger than the memory that it may take."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from gdkernels.cli import main
from gdkernels.system import memory
from gdkernels.system.memory import Room
from gdkernels.system.scratch import scratch_folder
from gdkernels.tabular import out_of_core
from gdkernels.tabular.in_parts import conversion, surveying
from gdkernels.tabular.in_parts.part_rules import RandomParts
from gdkernels.tabular.in_parts.survey import survey
from gdkernels.tabular.in_parts.table_parts import TableParts

N = 6000
QUICK = ["--hidden", "8", "--epochs", "3", "--memory", "300kB", "--json", "--backend", "numpy"]


@pytest.fixture(scope="module")
def table():
    draw = np.random.default_rng(0)
    a, b = draw.normal(size=N), draw.exponential(size=N)
    town = draw.choice(["Ames", "Nevada", ""], N, p=[0.6, 0.3, 0.1])
    y = 3 * a + np.log(b) + 5 * (town == "Ames") + draw.normal(0, 0.1, N)
    kind = np.where(y > 8, "high", np.where(y > 0, "middle", "low"))
    kind[4321] = "once"  # a class of a single record
    gaps = [None if k % 10 == 0 else float(v) for k, v in enumerate(b)]
    return {"row": np.arange(N), "a": a, "b": gaps, "town": [t or None for t in town], "y": y, "kind": kind.tolist()}


@pytest.fixture
def files(tmp_path, table, monkeypatch):
    monkeypatch.setenv("GDKERNELS_CACHE", str(tmp_path / "cache"))
    frame = pl.DataFrame(table)
    frame.write_csv(tmp_path / "t.csv")
    frame.write_parquet(tmp_path / "t.parquet")
    x = np.column_stack([table["a"], np.nan_to_num(np.array(table["b"], float)), table["y"]])
    np.save(tmp_path / "t.npy", x)
    np.savez(tmp_path / "t.npz", X=x[:, :2], Y=x[:, 2])
    return tmp_path


def train(capsys, *arguments):
    assert main(["train", *map(str, arguments), *QUICK]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_raw_table(files, capsys, kind):
    out = files / "m.safetensors"
    arguments = [files / f"t.{kind}", "--target", "y", "--ignore", "kind"]
    told = train(capsys, *arguments, "--optimizer", "rmsprop", "--epochs", "30", "--out", out)
    assert told["metrics"]["r2"] > 0.9
    assert told["memory"] > 0
    assert sum(told["rows"].values()) == N
    assert 0.18 * N < told["rows"]["test"] < 0.22 * N
    assert 0.06 * N < told["rows"]["validation"] < 0.1 * N
    why = {c["name"]: (c["kind"], c["why"]) for c in told["columns"]}
    assert why["row"] == ("dropped", "an identifier: consecutive integers")
    assert why["b"][0] == "number"
    assert "gaps become the median, with an indicator" in why["b"][1]
    assert why["town"][0] == "category"
    assert not list((files / "cache" / "tables").iterdir())
    assert main(["evaluate", str(out), str(files / "t.csv"), "--json", "--backend", "numpy"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["r2"] > 0.9


def test_classes_down_to_a_single_record(files, capsys):
    told = train(capsys, files / "t.csv", "--target", "kind", "--ignore", "y", "--class-weight", "balanced")
    assert told["task"] == "classification"
    assert set(told["classes"]) == {"high", "middle", "low", "once"}
    assert told["class_shares"]["once"] == pytest.approx(1 / N)
    assert np.sum(told["by_class"]["confusion"]) == told["rows"]["test"]


@pytest.mark.parametrize("name", ["t.npy", "t.npz"])
def test_arrays(files, capsys, name):
    told = train(capsys, files / name, *(["--target", "2"] if name == "t.npy" else []))
    assert sum(told["rows"].values()) == N
    assert told["task"] == "regression"


def test_the_same_again_whatever_the_parts(files, capsys, monkeypatch):
    arguments = [files / "t.csv", "--target", "y", "--ignore", "kind"]
    first = train(capsys, *arguments)
    monkeypatch.setattr(surveying, "survey", lambda parts, *a, **k: survey(replace(parts, records=777), *a, **k))
    second = train(capsys, *arguments)
    assert first["rows"] == second["rows"]
    assert train(capsys, *arguments, "--seed", "1")["rows"] != first["rows"]


def test_resumed(files, capsys):
    arguments = [files / "t.csv", "--target", "y", "--ignore", "kind", "--every", "20 steps"]
    whole = train(capsys, *arguments, "--checkpoint", files / "whole")
    again = train(capsys, *arguments, "--checkpoint", files / "whole", "--resume")
    assert again["metrics"] == whole["metrics"]
    for late in sorted((files / "whole" / "network-1").glob("step-*"))[1:]:
        late.unlink()  # as if it had been stopped: the table is prepared again, to the bits of before
    again = train(capsys, *arguments, "--checkpoint", files / "whole", "--resume")
    assert again["metrics"] == whole["metrics"]


def test_the_survey_sees_all_records(files, table):
    parts = TableParts([str(files / "t.csv")], ["y"], records=500)
    found = survey(parts, "auto", RandomParts(0, 0.2, 0.1), seed=0, most=1000)
    y = np.asarray(found.sample.columns["y"])
    assert len(found.sample) <= 1002
    assert (y.min(), y.max()) == (min(table["y"]), max(table["y"]))
    assert found.labels is None
    assert found.firsts == frozenset()
    assert found.identifiers == ("row",)
    drawn = RandomParts(0, 0.2, 0.1).of(0, N)
    assert found.counts.tolist() == np.bincount(drawn).tolist()
    assert (RandomParts(0, 0.2, 0.1).of(65_000, 2000)[536:] == RandomParts(0, 0.2, 0.1).of(65_536, 1464)).all()


def test_the_default_is_by_what_there_is(files, capsys, monkeypatch):
    monkeypatch.setattr(memory, "room", lambda: Room(1_000_000, "what the test leaves"))
    arguments = ["train", str(files / "t.csv"), "--target", "y", "--ignore", "kind", *QUICK[:4], "--json"]
    monkeypatch.setattr(out_of_core, "default_memory", lambda: 300_000)
    monkeypatch.setattr("gdkernels.dispatch.footprint._SMALL", 1 << 40)
    assert main([*arguments, "--backend", "numpy"]) == 0
    captured = capsys.readouterr()
    assert "t.csv needs about" in captured.err
    assert (
        "but only 1 MB (what the test leaves) is available: it is read in parts, and trained on in windows"
        in captured.err
    )


@pytest.mark.parametrize(
    ("more", "pattern"),
    [
        (["--average", "2"], "--average is for tables that fit into memory"),
        (["--memory", "none"], "must be a size such as 512MB or 2GB, got 'none'"),
        (["--target", "z"], "has no column 'z'"),
        (["--target", "b"], "the target 'b' has no value in"),
        (["--task", "classification", "--target", "y", "--class-weight", "balanced"], "too many for classes"),
    ],
)
def test_what_cannot_be(files, capsys, more, pattern):
    target = [] if "--target" in more else ["--target", "y"]
    assert main(["train", str(files / "t.csv"), *target, *QUICK, *more]) == 2
    assert pattern in capsys.readouterr().err


def test_the_disk_is_looked_at_before(files, capsys, monkeypatch):
    monkeypatch.setattr(conversion, "_SPARE", 1 << 60)
    assert main(["train", str(files / "t.csv"), "--target", "y", *QUICK]) == 2
    assert "set GDKERNELS_CACHE to a folder on another disk" in capsys.readouterr().err


KILLED = """
import os, signal, sys
from pathlib import Path
from gdkernels.system.scratch import scratch_folder
with scratch_folder(Path(sys.argv[1])) as folder:
    (folder / "train-x.npy").write_bytes(b"half of it")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_run_left_is_removed_and_a_live_one_is_not(files, capsys, monkeypatch):
    tables = files / "cache" / "tables"
    tables.mkdir(parents=True, mode=0o700)
    (files / "cache").chmod(0o700)
    subprocess.run([sys.executable, "-c", KILLED, tables], check=False)
    assert len(list(tables.iterdir())) == 2  # its folder and its lock
    # No process has such a number here, as in another container or on another host; but it holds its lock.
    monkeypatch.setattr("gdkernels.system.scratch.os.getpid", lambda: 4194305)
    with scratch_folder(tables) as live:
        (live / "train-x.npy").touch()
        monkeypatch.undo()
        monkeypatch.setenv("GDKERNELS_CACHE", str(files / "cache"))
        train(capsys, files / "t.csv", "--target", "y", "--ignore", "kind")
        assert sorted(p.name for p in tables.iterdir()) == [live.name, f"{live.name}.lock"]
        assert (live / "train-x.npy").exists()
    assert not list(tables.iterdir())


def test_nothing_stays_behind_where_the_disk_is_full(files, capsys, monkeypatch):
    written = conversion._ArrayWriter.append

    def full(self, rows):
        written(self, rows)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(conversion._ArrayWriter, "append", full)
    assert main(["train", str(files / "t.csv"), "--target", "y", *QUICK]) == 2
    assert "no space left on device" in capsys.readouterr().err
    assert not list((files / "cache" / "tables").iterdir())


def test_a_table_is_described_in_parts(files, table, command):
    whole = command("describe", files / "t.csv", "--target", "y", "--json").json
    parts = command("describe", files / "t.csv", "--target", "y", "--json", "--memory", "300KB").json
    assert parts.pop("sample") < parts["records"] == whole["records"]
    for one, other in zip(whole["columns"], parts["columns"], strict=True):
        assert [one[k] for k in ("name", "kind", "read", "gaps")] == [
            other[k] for k in ("name", "kind", "read", "gaps")
        ]
        if one["kind"] == "number":
            assert one["such_as"] == other["such_as"]
