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

import gdkernels as gd
from gdkernels import metrics
from gdkernels.cli import main
from gdkernels.randomness import generator
from gdkernels.tables import Preparation, split
from gdkernels.tabular import defaults
from gdkernels.training import progress

QUICK = ("--epochs", "5", "--hidden", "8")
# One small network, trained for as long as the made-up tables need.
LEARNS = ("--hidden", "64", "--learning-rate", "0.01", "--epochs", "150")


def train(command, data, *arguments):
    outcome = command("train", data, "--target", "y", "--json", *arguments)
    assert outcome.code == 0, outcome.err
    assert outcome.err == ""
    return outcome.json


def _trained(folder, **table):
    """Train with every choice left to the defaults, at a rate that needs a third of the epochs."""
    data, model = write_csv(folder / "t.csv", *made_up(records=120, **table)), folder / "m.safetensors"
    arguments = [
        "train",
        data,
        "--target",
        "y",
        "--learning-rate",
        0.01,
        "--out",
        model,
        "--backend",
        "numpy",
        "--json",
    ]
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
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


# Equal to rounding, and several times as fast.
FAST = ("--backend", "numba" if find_spec("llvmlite") else "numpy")


@pytest.mark.usefixtures("one_thread")
def test_digits(command):
    found = [command("train", "digits", "--json", "--seed", seed, *FAST).json["metrics"] for seed in (100, 101)]
    assert sum(metrics["accuracy"] for metrics in found) / 2 >= 0.965


def test_diabetes(command):
    assert 0.3 < command("train", "diabetes", "--json", *FAST).json["metrics"]["r2"] < 0.7


def test_the_figures_are_those_of_rows_never_seen(command, tmp_path):
    x, y = made_up(records=150)
    _, test = split(150, 0.2, generator(0, "test"))
    shuffled = y.copy()
    shuffled[test] = np.random.default_rng(0).permutation(y[test])
    results = []
    for name, targets in (("honest.npz", y), ("shuffled.npz", shuffled)):
        np.savez(tmp_path / name, X=x, Y=targets)
        arguments = ("--learning-rate", 0.01, "--epochs", 100)
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


# ---- the options


def test_same_seed_same_figures_other_seed_other_figures(command, numbers):
    def figures(seed):
        result = train(command, numbers, *QUICK, "--seed", seed)
        return result["metrics"]

    assert figures(3) == figures(3)
    assert figures(3) != figures(4)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--optimizer", "sgd"], {"name": "sgd", "learning_rate": 0.01, "momentum": 0.9, "nesterov": False}),
        (
            ["--optimizer", "sgd", "--learning-rate", "0.1", "--momentum", "0.5", "--nesterov"],
            {"name": "sgd", "learning_rate": 0.1, "momentum": 0.5, "nesterov": True},
        ),
        (["--optimizer", "rmsprop"], {"name": "rmsprop", "learning_rate": 0.001, "rho": 0.9, "epsilon": 1e-8}),
        (["--optimizer", "rmsprop", "--learning-rate", "3e-3"], {"name": "rmsprop", "learning_rate": 0.003}),
    ],
)
def test_optimizers(command, numbers, arguments, expected):
    assert train(command, numbers, *QUICK, *arguments)["settings"]["optimizer"].items() >= expected.items()


def test_adamw_decays_weights_itself(command, numbers):
    assert train(command, numbers, *QUICK, "--optimizer", "adamw")["settings"]["l2"] == 0
    assert train(command, numbers, *QUICK, "--optimizer", "adamw", "--l2", 0.5)["settings"]["l2"] == 0.5


@pytest.mark.parametrize(
    ("arguments", "changes"),
    [
        (["--l2", "0.5"], {"settings": {"l2": 0.5}}),
        (["--clip-norm", "0.5"], {"settings": {"clip_norm": 0.5}}),
        (["--schedule", "cosine"], {"settings": {"schedule": "cosine"}}),
        (["--batch-size", "7"], {"settings": {"batch_size": 7}}),
        (["--batch-size", "100000"], {"settings": {"batch_size": 100000}}),
        (["--activation", "gelu"], {"activation": ["gelu"]}),
        (["--hidden", "5,4"], {"sizes": [3, 5, 4, 1]}),
        (["--hidden", "none"], {"sizes": [3, 1], "activation": []}),
        (["--precision", "float64"], {"precision": "float64"}),
        (["--backend", "numpy"], {"reason": "as asked for"}),
        (["--device", "cpu"], {"device": "cpu"}),
        (["--test", "0.5", "--validation", "0.25"], {"rows": {"train": 90, "validation": 30, "test": 120}}),
        (["--validation", "0"], {"rows": {"train": 192, "validation": 0, "test": 48}, "settings": {"patience": 0}}),
    ],
)
def test_options_do_what_they_say(command, numbers, arguments, changes):
    plain, changed = (train(command, numbers, *QUICK, *more) for more in ([], arguments))
    for name, value in changes.items():
        if isinstance(value, dict) and name == "settings":
            assert value.items() <= changed[name].items()
        else:
            assert changed[name] == value
    if arguments[0] not in ("--backend", "--device"):  # the others change what is computed
        assert changed["metrics"] != plain["metrics"]


def test_patience_ends_training(command, numbers):
    result = train(command, numbers, "--hidden", 256, "--patience", 2, "--learning-rate", 0.1)
    assert result["epochs"] < 200
    assert result["stopped"] == "the validation loss has not fallen for 2 epochs"
    assert result["best_epoch"] == result["epochs"] - 2
    assert train(command, numbers, *QUICK, "--patience", 0)["stopped"] == "all 5 epochs are done"


def test_patience_without_validation_watches_the_training_loss(command, numbers):
    result = train(command, numbers, "--validation", 0, "--patience", 1, "--learning-rate", 0.5, "--batch-size", 8)
    assert result["stopped"] == "the loss has not fallen for 1 epochs"


@pytest.mark.parametrize("loss", ["mse", "huber"])
def test_losses_of_numbers(command, numbers, loss):
    result = train(command, numbers, "--loss", loss, *LEARNS)
    assert result["settings"]["loss"] == loss
    assert result["metrics"]["r2"] > 0.9


@pytest.mark.parametrize("loss", ["sse", "mse", "huber"])
def test_losses_of_numbers_on_classes_give_probabilities(command, classes, loss):
    result = train(command, classes, "--loss", loss, *LEARNS)
    assert result["task"] == "classification"
    assert result["sizes"][-1] == 3
    assert result["metrics"]["accuracy"] > 0.8
    assert 0 < result["metrics"]["log_loss"] < 0.6


@pytest.mark.parametrize(("loss", "outputs"), [("cross_entropy", 2), ("binary_cross_entropy", 1)])
def test_two_classes(command, tmp_path, loss, outputs):
    x, y = made_up()
    np.savez(tmp_path / "two.npz", X=x, Y=np.where(y > np.median(y), 7, -7))
    result = command("train", tmp_path / "two.npz", "--json", "--loss", loss, *LEARNS).json
    assert result["classes"] == [-7, 7]
    assert result["sizes"][-1] == outputs
    assert result["metrics"]["accuracy"] > 0.9
    assert result["metrics"]["log_loss"] < 0.4


def test_counts(command, tmp_path):
    x, _ = made_up(records=1000)
    counts = np.random.default_rng(0).poisson(np.exp(0.5 * x[:, 0])).astype(float)
    np.savez(tmp_path / "counts.npz", X=x, Y=counts)
    result = command("train", tmp_path / "counts.npz", "--json", "--loss", "poisson", *LEARNS).json
    assert result["task"] == "regression"
    assert result["metrics"]["r2"] > 0.1


def test_the_task_can_be_said(command, classes, numbers):
    assert train(command, classes, *QUICK, "--task", "regression")["metrics"].keys() == {"r2", "rmse", "mae"}
    assert train(command, classes, *QUICK, "--loss", "cross_entropy")["task"] == "classification"


def test_one_hot_and_several_targets(command, tmp_path):
    x, y = made_up(classes=True)
    np.savez(tmp_path / "hot.npz", X=x, Y=np.eye(3)[(y / 10).astype(int)])
    np.savez(tmp_path / "two.npz", X=x, Y=np.column_stack([x[:, 0], 1e4 * x[:, 2]]))
    hot = command("train", tmp_path / "hot.npz", "--json", *LEARNS).json
    assert (hot["task"], hot["classes"]) == ("classification", [0, 1, 2])
    assert hot["metrics"]["accuracy"] > 0.8
    two = command("train", tmp_path / "two.npz", "--json", *LEARNS).json
    assert (two["task"], two["sizes"][-1]) == ("regression", 2)
    assert two["metrics"]["r2"] > 0.95


def test_npy_and_tabs(command, tmp_path):
    x, y = made_up()
    np.save(tmp_path / "a.npy", np.column_stack([y, x]))
    (tmp_path / "t.tsv").write_text(
        "y\ta\tb\tc\n" + "\n".join("\t".join(map(repr, row)) for row in np.column_stack([y, x]).tolist())
    )
    results = [
        command("train", tmp_path / name, "--target", target, "--json", *QUICK).json
        for name, target in (("a.npy", "0"), ("t.tsv", "y"))
    ]
    assert results[0]["metrics"] == results[1]["metrics"]


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
