"""Rows set aside by time, by group, or in a table of their own: in memory and in parts, from Python and the command."""

import json
import re

import numpy as np
import pytest
from kept_models import content

import gdkernels as gd
from gdkernels.cli import main
from gdkernels.tables.rows.grouped import folds_of_groups, split_groups
from gdkernels.tabular import in_memory
from gdkernels.tabular.networks import training_plan
from gdkernels.tabular.settings.targets import Goal
from gdkernels.tabular.trials.time_order import in_time_order, ordering_column

QUICK = {"epochs": 3, "hidden": 4, "backend": "numpy"}
N = 400


@pytest.fixture
def log():
    """Return a table in the order of its dates, several records a day, with groups and a trend."""
    draw = np.random.default_rng(0)
    day = np.arange(N) // 4
    x = draw.normal(size=N)
    return {
        "when": [str(np.datetime64("2024-01-01") + int(d)) for d in day],
        "who": [f"p{k}" for k in draw.integers(0, 20, N)],
        "x": x.tolist(),
        "y": (x + 0.05 * day + 0.1 * draw.normal(size=N)).tolist(),
    }


@pytest.fixture
def file(log, tmp_path, monkeypatch):
    """Return the table as a CSV file."""
    monkeypatch.setenv("GDKERNELS_BACKEND", "numpy")
    monkeypatch.setenv("GDKERNELS_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "log.csv"
    rows = ["when,who,x,y", *(",".join(map(str, row)) for row in zip(*log.values(), strict=True))]
    path.write_text("\n".join([*rows, ""]), encoding="utf-8")
    return path


@pytest.fixture
def seen(monkeypatch):
    """Return the rows of each fit in memory, as they were set aside."""
    found = []
    real = in_memory.split_rows
    monkeypatch.setattr(in_memory, "split_rows", lambda *args: found.append(real(*args)) or found[-1])
    return found


@pytest.mark.parametrize(("split", "share"), [("time", 0.2), ("time:when", 0.3), ("time:x", 0.2)])
def test_the_last_ones_in_time(log, seen, split, share):
    predictor = gd.TabularPredictor("y", split=split, test=share, **QUICK).fit(log)
    (rows,) = seen
    key = np.array(log["x"]) if split == "time:x" else np.array(log["when"], "datetime64[D]")
    ((train, validation),) = rows.networks
    assert key[train].max() < key[validation].min() <= key[validation].max() < key[rows.test].min()
    assert len(rows.test) == pytest.approx(share * N, abs=4)
    assert len(validation) == pytest.approx(0.1 * (1 - share) * N, abs=4)
    assert sorted([*train, *validation, *rows.test]) == list(range(N))
    result = predictor.result_
    assert f"rows, the last ones by {'x' if split == 'time:x' else 'when'!r}, from " in result.as_text()
    assert result.settings["split"] == split
    assert any("held at the nearest of these; outside='extrapolate' does" in remark for remark in result.remarks)


def test_networks_that_are_averaged_leave_out_stretches_of_time(log, seen):
    gd.TabularPredictor("y", split="time", epochs=1, backend="numpy").fit(log)
    (rows,) = seen
    when = np.array(log["when"], "datetime64[D]")
    assert len(rows.networks) == 5
    assert np.array_equal(np.sort(np.concatenate([v for _, v in rows.networks])), rows.learn)
    for train, validation in rows.networks:
        first, last = when[validation].min(), when[validation].max()
        assert not np.any((when[train] >= first) & (when[train] <= last))


@pytest.mark.parametrize("more", [{}, {"average": 2}, QUICK])
def test_groups_are_never_parted(log, seen, more):
    predictor = gd.TabularPredictor("y", split="group:who", **{"backend": "numpy", **more, "epochs": 1}).fit(log)
    (rows,) = seen
    who = np.array(log["who"])
    assert not set(who[rows.learn]) & set(who[rows.test])
    assert len(rows.test) == pytest.approx(0.2 * N, abs=0.05 * N)
    for train, validation in rows.networks:
        assert not set(who[train]) & set(who[validation])
        assert sorted([*train, *validation]) == rows.learn.tolist()
    (kind,) = (kind for kind in predictor.preparation_.columns if kind.name == "who")
    assert kind.why == "names the groups of the split"
    gd.TabularPredictor("y", split="group:who", categorical="who", **QUICK).fit(log)
    assert "of the 20 groups by 'who'" in predictor.result_.as_text()


def test_parts_of_groups_have_about_one_size():
    groups = np.repeat(np.arange(30), np.arange(1, 31))
    random = np.random.default_rng(0)
    sizes = [len(own) for _, own in folds_of_groups(groups, 5, random)]
    assert max(sizes) - min(sizes) <= 30
    assert len(folds_of_groups(groups[:3], 5, random)) == 2
    kept, held = split_groups(groups, 0.2, random, "the test")
    assert len(held) == pytest.approx(0.2 * len(groups), abs=15)
    assert split_groups(groups, 0, random, "the test")[0].tolist() == list(range(len(groups)))
    assert len(kept) + len(held) == len(groups)


@pytest.mark.parametrize("split", ["time", "group:who"])
def test_the_same_rule_in_parts(file, log, split, capsys):
    arguments = ["train", str(file), "--target", "y", "--split", split, "--epochs", "3", "--hidden", "4", "--json"]
    assert main([*arguments, "--memory", "100KB"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert sum(told["rows"].values()) == N
    assert told["rows"]["test"] == pytest.approx(0.2 * N, abs=0.1 * N)
    assert told["rows"]["validation"] > 0
    if split == "time":
        assert main(arguments) == 0
        assert json.loads(capsys.readouterr().out)["rows"] == told["rows"]
        assert told["test_rows"] == "rows, the last ones by 'when', from 2024-03-21 on"


def test_a_class_that_comes_late_is_no_error(log):
    late = {**log, "y": ["old"] * 150 + ["other"] * 150 + ["new"] * 100}
    predictor = gd.TabularPredictor("y", split="time", **QUICK).fit(late)
    assert predictor.classes_.tolist() == ["new", "old", "other"]
    assert predictor.metrics_["accuracy"] < 1


def test_a_test_file(file, log, tmp_path, capsys):
    other = tmp_path / "test.csv"
    other.write_text("".join(file.read_text("utf-8").splitlines(keepends=True)[:51]), encoding="utf-8")
    arguments = [str(file), "--target", "y", "--epochs", "3", "--hidden", "4"]
    model = tmp_path / "m.safetensors"
    command = ["train", *arguments, "--test-file", str(other), "--json", "--out", str(model)]
    assert main(command) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["rows"] == {"train": 360, "validation": 40, "test": 50}
    assert told["test_rows"] == f"records of {other}"
    assert main(["evaluate", str(model), str(other), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"] == told["metrics"]
    assert main([*command[:-3], "--memory", "100KB"]) == 0
    assert f" on 50 records of {other}" in capsys.readouterr().out
    frame = {name: values[:50] for name, values in log.items()}
    again = gd.TabularPredictor("y", test_file=frame, **QUICK).fit(str(file))
    assert again.metrics_ == told["metrics"]
    again.save(tmp_path / "python.safetensors")
    assert content(tmp_path / "python.safetensors")[0] == content(model)[0]
    assert f"{file}: 400 records of" in again.result_.as_text()


def test_a_test_file_that_does_not_fit_is_refused_before_training(file, log, monkeypatch):
    monkeypatch.setattr(training_plan, "fit", None)
    for wrong, message in (
        ({"x": log["x"], "y": log["y"]}, "lacks 2 of the 3 columns"),
        ({**log, "y": [None, *log["y"][1:]]}, "has no value in 1 of 400"),
        ({name: values[:0] for name, values in log.items()}, "has no records to measure the figures on"),
    ):
        with pytest.raises(gd.InputError, match=message):
            gd.TabularPredictor("y", test_file=wrong, **QUICK).fit(str(file))
    with pytest.raises(gd.InputError, match=r"test_file brings .*log\.csv, which is to be learned, so"):
        gd.TabularPredictor("y", test_file=file.parent, **QUICK).fit(str(file))
    for fit in (gd.TabularPredictor("y").fit, gd.TabularPredictor("y").describe):
        with pytest.raises(gd.InputError, match=r"log\.csv is given twice, so .*: give it once"):
            fit([file, file.parent])
    with pytest.raises(gd.InputError, match="test sets rows aside, and test_file brings some"):
        gd.TabularPredictor("y", test_file=log, test=0.3, **QUICK).fit(log)


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("when", "unknown split 'when'"),
        ("group", "needs the column of the groups: group:COLUMN"),
        ("time:", "say random, time, time:COLUMN or group:COLUMN"),
        ("random:x", "say random, time, time:COLUMN or group:COLUMN"),
        ("time:nowhere", "has no column 'nowhere'"),
        ("group:nowhere", "has no column 'nowhere'"),
        ("time:who", "holds neither dates nor numbers"),
        ("group:one", "these records all belong to one group"),
        ("time:same", "all records have the same time"),
        ("time:gaps", "record 4 of the table, column 'gaps': no time"),
        ("time:y", "split='time:y': 'y' is the target"),
        ("group:y", "split='group:y': 'y' is the target"),
    ],
)
def test_what_cannot_be_split(log, split, message):
    gaps = [float(k) if k != 3 else None for k in range(N)]
    table = {**log, "one": ["a"] * N, "same": [1.0] * N, "gaps": gaps}
    with pytest.raises(gd.InputError, match=message):
        gd.TabularPredictor("y", split=split, **QUICK).fit(table)
    if split == "time:who":
        with pytest.raises(gd.InputError, match=r"has several columns of dates \(when, then\)"):
            gd.TabularPredictor("y", split="time", **QUICK).fit({**log, "then": log["when"]})
        with pytest.raises(gd.InputError, match="has no column of dates"):
            gd.TabularPredictor("y", split="time", **QUICK).fit({"x": log["x"], "y": log["y"]})


def test_too_few_groups(file, log, capsys):
    two = {**log, "who": ["a"] * 200 + ["b"] * 200}
    with pytest.raises(gd.InputError, match="none can be set aside for validation, another being that of the test"):
        gd.TabularPredictor("y", split="group:who", **QUICK).fit(two)
    file.write_text(re.sub(r",p\d+,", ",p1,", file.read_text()))
    assert main(["train", str(file), "--target", "y", "--split", "group:who", "--memory", "100KB"]) == 2
    assert re.search(r"column 'who' has too few groups: .* (0|400) records to train on", capsys.readouterr().err)


# ---- beyond the range of training, and the remark on random rows


def test_what_is_outside_is_held_or_goes_on(log, tmp_path):
    far = {"when": ["2030-04-09", "2024-03-01"], "who": ["p1", "p1"], "x": [0.0, 99.0]}
    edge = {"when": ["2024-04-09", "2024-03-01"], "who": ["p1", "p1"], "x": [0.0, max(log["x"])]}
    options = {"ignore": "who", "test": 0} | QUICK | {"hidden": 32}
    held = gd.TabularPredictor("y", outside="hold", **options).fit(log)
    np.testing.assert_array_equal(held.predict(far), held.predict(edge))
    on = gd.TabularPredictor("y", outside="extrapolate", **options).fit(log)
    assert (on.predict(far) != on.predict(edge)).all()
    held.save(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(gd.load(tmp_path / "m.safetensors", backend="numpy").predict(far), held.predict(far))
    assert any("held at the nearest" in remark for remark in held.result_.remarks)
    with pytest.raises(gd.InputError, match="unknown outside 'up'"):
        gd.TabularPredictor("y", outside="up").fit(log)


@pytest.mark.parametrize(("days", "kept"), [(10, ["day number"]), (400, ["day number", "day", "weekday"])])
def test_parts_of_a_date_that_come_once_are_no_inputs_for_later_rows(days, kept):
    first = np.datetime64("2021-01-04")
    table = {"day": [str(first + k // 2) for k in range(2 * days)], "y": [float(k % 7) + k for k in range(2 * days)]}
    (later,) = gd.TabularPredictor("y", split="time").describe(table)["columns"]
    assert f"split into {', '.join(kept)}; " in later["why"]
    assert f"left out, as the {days - 1} days of training are no two cycles" in later["why"]
    (whole,) = gd.TabularPredictor("y").describe(table)["columns"]
    assert "left out" not in whole["why"]


def test_random_rows_flatter_where_what_comes_later_is_new(log):
    draw = np.random.default_rng(1)
    jumps = np.repeat(draw.normal(size=10) * 3, 40)  # a level that changes, and that neighbours give away
    told = gd.TabularPredictor("y", backend="numpy", epochs=60, hidden=32, ignore="who").fit(
        {**log, "y": jumps.tolist()}
    )
    (remark,) = (remark for remark in told.result_.remarks if "rows at random flatter" in remark)
    assert "'when' orders the rows in time" in remark
    assert "split='time:when'" in remark
    description = told.describe({**log, "y": jumps.tolist()})
    assert any("in order of 'when'" in remark for remark in description["remarks"])


def test_no_such_remark_where_time_tells_nothing(log):
    table = gd.tables.read({**log, "y": log["x"]})
    assert ordering_column(table) == "when"
    settings = gd.tabular.settings.TabularSettings.checked(gd.TabularPredictor("y", backend="numpy").get_params())
    assert in_time_order(settings, table, Goal(("y",), "regression", "sse")) == []
    shuffled = table.take(np.random.default_rng(0).permutation(N))
    assert ordering_column(shuffled) is None
