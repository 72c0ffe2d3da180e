"""Training from the command line does what it says, and says what it did."""

import contextlib
import io
import json
import sys
import time
from importlib.util import find_spec

import numpy as np
import pytest
from made_up import made_up, write_csv
from training_commands import QUICK, train

import gdkernels as gd
from gdkernels import metrics
from gdkernels.cli import main
from gdkernels.randomness import generator
from gdkernels.tables import Preparation, split
from gdkernels.tabular.settings import defaults
from gdkernels.training import progress

# Equal to rounding, and several times as fast.
FAST = ("--backend", "numba" if find_spec("llvmlite") else "numpy")


def _trained(folder, **table):
    """Train with every choice left to the defaults, at a rate that needs a third of the epochs."""
    data, model = write_csv(folder / "t.csv", *made_up(records=120, **table)), folder / "m.safetensors"
    arguments = ["train", data, "--target", "y", "--learning-rate", 0.01, "--out", model, *FAST, "--json"]
    out = io.StringIO()
    with contextlib.redirect_stdout(out), pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        assert main(list(map(str, arguments))) == 0
    return json.loads(out.getvalue()), model


@pytest.fixture(scope="module")
def trained_numbers(tmp_path_factory):
    """Return what training on 120 numbers with the defaults says, and the model file."""
    return _trained(tmp_path_factory.mktemp("numbers"))


@pytest.fixture(scope="module")
def trained_classes(tmp_path_factory):
    """Return what training on 120 records of three classes with the defaults says, and the model file."""
    return _trained(tmp_path_factory.mktemp("classes"), classes=True)


# ---- the figures


def test_a_linear_target_is_learned(trained_numbers):
    result, _ = trained_numbers
    assert result["task"] == "regression"
    assert result["metrics"]["r2"] > 0.95
    assert set(result["metrics"]) == set(result["baseline"]) == {"r2", "rmse", "mae"}
    assert result["metrics"]["mae"] < result["metrics"]["rmse"] < 50


def test_classes_are_learned(trained_classes):
    result, _ = trained_classes
    assert result["task"] == "classification"
    assert result["classes"] == [0, 10, 20]
    assert result["metrics"]["accuracy"] > 0.8
    assert set(result["metrics"]) == set(result["baseline"]) == {"accuracy", "log_loss", "balanced_accuracy", "brier"}


@pytest.mark.usefixtures("one_thread")
def test_digits(command):
    found = [command("train", "digits", "--json", "--seed", seed, *FAST).json["metrics"] for seed in (100, 101)]
    assert sum(metrics["accuracy"] for metrics in found) / 2 >= 0.965


@pytest.mark.usefixtures("one_thread")
def test_diabetes(command):
    assert 0.3 < command("train", "diabetes", "--json", *FAST).json["metrics"]["r2"] < 0.7


@pytest.mark.usefixtures("one_thread")
def test_the_figures_are_those_of_rows_never_seen(command, tmp_path):
    x, y = made_up(records=150)
    _, test = split(150, 0.2, generator(0, "test"))
    shuffled = y.copy()
    shuffled[test] = np.random.default_rng(0).permutation(y[test])
    results = []
    for name, targets in (("honest.npz", y), ("shuffled.npz", shuffled)):
        np.savez(tmp_path / name, X=x, Y=targets)
        arguments = ("--learning-rate", 0.01, "--epochs", 100, *FAST)
        results.append(command("train", tmp_path / name, "--json", *arguments).json)
    honest, chance = results
    assert honest["metrics"]["r2"] > 0.95
    assert chance["metrics"]["r2"] < 0.2
    # Neither training, nor stopping, nor the choice of a penalty noticed: the rest is the same.
    assert honest["cross_validation"] is not None
    for name in ("epochs", "best_epoch", "stopped", "cross_validation"):
        assert honest[name] == chance[name]


# ---- JSON and text


def test_json_is_one_object_with_everything(command, numbers, tmp_path):
    result = train(command, numbers, *QUICK, "--out", tmp_path / "m", "--starts", 2)
    kinds = {
        "data": str,
        "target": str,
        "task": str,
        "classes": type(None),
        "rows": dict,
        "test_rows": str,
        "remarks": list,
        "metrics": dict,
        "baseline": dict,
        "calibration": type(None),
        "by_class": type(None),
        "stopping_together": type(None),
        "class_shares": type(None),
        "columns": list,
        "backend": str,
        "device": str,
        "precision": str,
        "origin": str,
        "reason": str,
        "plan": dict,
        "network": str,
        "sizes": list,
        "activation": list,
        "parameters": int,
        "settings": dict,
        "epochs": int,
        "best_epoch": int,
        "stopped": str,
        "starts": list,
        "averaged": list,
        "cross_validation": type(None),
        "search": type(None),
        "ranks": type(None),
        "memory": int,
        "threads": str,
        "seconds": float,
        "samples_per_second": float,
        "model": str,
        "plot": type(None),
        "explanation": type(None),
        "profile": type(None),
    }
    assert {name: type(value) for name, value in result.items()} == kinds
    assert result["rows"] == {"train": 173, "validation": 19, "test": 48}
    assert result["sizes"] == [3, 8, 1]
    assert result["parameters"] == 3 * 8 + 8 + 8 + 1
    assert (result["backend"], result["device"], result["precision"]) == ("numpy", "cpu", "float32")
    assert result["origin"] == "definition"
    assert result["reason"] == "set by GDKERNELS_BACKEND"
    assert result["stopped"] == "all 5 epochs are done"
    assert len(result["starts"]) == 2
    assert result["model"] == str(tmp_path / "m")
    assert result["settings"]["batch_size"] == 32
    assert result["settings"]["l2"] == defaults.l2(173)


def test_without_out_there_is_no_model(command, numbers, tmp_path):
    before = list(tmp_path.iterdir())
    assert train(command, numbers, *QUICK)["model"] is None
    assert list(tmp_path.iterdir()) == before


def test_the_summary_says_where_it_ran_and_why(command, classes, tmp_path):
    outcome = command("train", classes, "--target", "y", "--out", tmp_path / "m", "--starts", 2, "--epochs", 60)
    assert (outcome.code, outcome.err) == (0, "")
    text = outcome.out
    for part in (
        "240 records of 3 columns; classification in 3 classes of 'y'",
        "3 numbers: 3 inputs",
        "classes  ",
        "3-256-3, relu, 1,795 parameters; cross_entropy, adam at 0.001, batches of 32, l2 0.023",
        "numpy, cpu, float32, definition: set by GDKERNELS_BACKEND",
        " samples/s",
        "the parameters are those of epoch ",
        "2, with the losses ",
        "accuracy ",
        "log_loss 0.",
        " on 48 rows kept from training and stopping",
        str(tmp_path / "m"),
    ):
        assert part in text
    assert "memory   at most " in text
    assert "threads  " in text
    assert "baseline accuracy 0." in text
    assert "note     'y' was read as 3 classes, as it holds few whole numbers; say --task regression if" in text
    assert len(text.splitlines()) == 15


def test_without_test_rows_there_are_no_figures(command, numbers):
    assert train(command, numbers, *QUICK, "--test", 0)["metrics"] == {}
    assert "no rows were kept" in command("train", numbers, "--target", "y", *QUICK, "--test", 0).out


def test_no_bar_off_a_terminal_and_one_on_it(command, numbers, monkeypatch):
    monkeypatch.setattr("gdkernels.system.progress._DELAY_SECONDS", 0.0)
    assert command("train", numbers, "--target", "y", *QUICK).err == ""
    update = progress.Progress.update
    monkeypatch.setattr(progress.Progress, "update", lambda *a: (time.sleep(0.11), update(*a)))  # drawn each 0.1 s
    monkeypatch.setattr(type(sys.stderr), "isatty", lambda self: self is sys.stderr)
    outcome = command("train", numbers, "--target", "y", *QUICK, "--json")
    assert outcome.json["epochs"] == 5
    for part in ("/5", "loss ", "validation ", "samples/s"):
        assert part in outcome.err


# ---- the model file


def test_the_model_predicts_on_the_raw_table(trained_numbers):
    result, model = trained_numbers
    x, y = made_up(records=120)
    mlp = gd.load(model, backend="numpy").network
    assert json.loads(json.dumps(mlp.extra)) == mlp.extra
    assert mlp.extra["target"] == "y"
    assert mlp.extra["task"] == "regression"
    assert mlp.extra["metrics"] == result["metrics"]
    assert mlp.extra["settings"] == result["settings"]
    preparation = Preparation.from_json(mlp.extra["preparation"])
    prediction = preparation.restore(mlp.predict(preparation.transform(dict(zip("abc", x.T, strict=True)))))
    assert metrics.r2(y, prediction) > 0.95
    _, test = split(len(y), 0.2, generator(0, "test"))
    assert metrics.r2(y[test], prediction[test]) == pytest.approx(result["metrics"]["r2"], rel=1e-6)


def test_a_model_of_classes_predicts_labels(trained_classes):
    result, model = trained_classes
    x, y = made_up(classes=True, records=120)
    mlp = gd.load(model, backend="numpy").network
    preparation = Preparation.from_json(mlp.extra["preparation"])
    labels = preparation.restore(mlp.predict(preparation.transform(dict(zip("abc", x.T, strict=True)))))
    _, test = split(len(y), 0.2, generator(0, "test"), y)
    assert np.mean(labels[test] == y[test]) == pytest.approx(result["metrics"]["accuracy"])


def test_force_replaces(command, numbers, tmp_path):
    first = train(command, numbers, *QUICK, "--out", tmp_path / "m")
    train(command, numbers, *QUICK, "--out", tmp_path / "m", "--force", "--seed", 9)
    assert gd.load(tmp_path / "m", backend="numpy").metrics_ != first["metrics"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m", "numbers.csv"]
