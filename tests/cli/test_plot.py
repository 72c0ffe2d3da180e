"""Pictures from the command line: what is drawn, where it goes, and what is refused before any work."""

import json
import sys

import numpy as np
import pytest
from made_up import made_up, write_csv

import gdkernels as gd
from gdkernels.cli import main
from gdkernels.plots import style

QUICK = ("--epochs", "3", "--hidden", "8")
BEGINS = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Return the folder of two small models with their tables."""
    folder = tmp_path_factory.mktemp("models")
    for name, classes in (("numbers", False), ("classes", True)):
        write_csv(folder / f"{name}.csv", *made_up(classes))
        arguments = ["train", str(folder / f"{name}.csv"), "--target", "y", *QUICK, "--backend", "numpy", "--json"]
        assert main([*arguments, "--out", str(folder / name)]) == 0
    return folder


def panels_of(monkeypatch):
    """Return the list to which the titles of each figure that is made will be added."""
    titles = []
    real = style.dress
    monkeypatch.setattr(style, "dress", lambda ax, **told: (titles.append(told["title"]), real(ax, **told))[1])
    return titles


@pytest.mark.parametrize("picture", ["slope", "surface", "starts", "fit"])
def test_gradient_descent_can_be_watched(command, tmp_path, picture, monkeypatch):
    steps = ("--steps", "3", "--optimizer", "sgd")
    for suffix, begins in BEGINS.items():
        files = [tmp_path / f"{k}.{suffix}" for k in range(2)]
        for file in files:
            monkeypatch.setenv("SOURCE_DATE_EPOCH", str(1_000_000 + 1_000_000 * len(list(tmp_path.iterdir()))))
            outcome = command("plot", picture, "--out", file, *steps)
            assert (outcome.code, outcome.out, outcome.err) == (0, f"{file}\n", "")
        first, second = (file.read_bytes() for file in files)
        assert first.startswith(begins)
        assert first == second, "the same picture is the same file, whenever it is drawn"


def test_options_of_the_descent(command, tmp_path):
    def picture(*arguments):
        (tmp_path / "p.svg").unlink(missing_ok=True)
        outcome = command("plot", *arguments, "--out", tmp_path / "p.svg")
        assert outcome.code == 0, outcome.err
        return (tmp_path / "p.svg").read_bytes()

    plain = picture("slope")
    for option in (("--learning-rate", "0.05"), ("--optimizer", "adam"), ("--steps", "3"), ("--start", "-1.5")):
        assert picture("slope", *option) != plain
    assert picture("surface", "--start", "-1", "0.5") != picture("surface", "--seed", "1")
    assert picture("starts", "--start", "1", "-2.5") != picture("starts", "--start", "1")
    assert picture("fit", "--hidden", "none") != picture("fit", "--seed", "1")


def test_a_descent_that_diverges_fails_with_advice(refused, tmp_path):
    refused("lower the learning rate", "plot", "slope", "--learning-rate", "5", "--steps", "500",
            "--out", tmp_path / "p.png", code=1)  # fmt: skip


def test_a_model_is_drawn(command, models, tmp_path, monkeypatch):
    titles = panels_of(monkeypatch)
    for k, arguments in enumerate(
        [
            ("loss", models / "numbers"),
            ("predictions", models / "numbers", models / "numbers.csv"),
            ("predictions", models / "classes", models / "classes.csv"),
            ("layers", models / "classes"),
            ("layers", models / "classes", models / "classes.csv"),
        ]
    ):
        outcome = command("plot", *arguments, "--out", tmp_path / f"{k}.png")
        assert (outcome.code, outcome.err) == (0, "")
        assert (tmp_path / f"{k}.png").read_bytes().startswith(BEGINS["png"])
    assert [title.split(":")[0] for title in titles] == [
        "Loss while training",
        "Predicted against true",
        "Residuals",
        "Confusion matrix",
        "Weights by layer",
        "Weights by layer",
        "Gradients by layer",
    ]


def test_evaluate_draws_what_it_says(command, models, tmp_path, monkeypatch):
    titles = panels_of(monkeypatch)
    numbers = command("evaluate", models / "numbers", models / "numbers.csv", "--plot", tmp_path / "n.svg", "--json")
    assert numbers.json["plot"] == str(tmp_path / "n.svg")
    assert f"R² {numbers.json['metrics']['r2']:.3g}" in titles[0].replace("−", "-")
    classes = command("evaluate", models / "classes", models / "classes.csv", "--plot", tmp_path / "c.pdf")
    assert classes.out.splitlines()[-1] == str(tmp_path / "c.pdf")
    assert titles[2].endswith("of 240 right")
    assert command("evaluate", models / "classes", models / "classes.csv", "--json").json["plot"] is None


def test_train_draws_losses_and_what_the_test_rows_say(command, numbers, classes, tmp_path, monkeypatch):
    titles = panels_of(monkeypatch)
    for data, more in ((numbers, ()), (classes, ("--average", "2")), (numbers, ("--test", "0"))):
        outcome = command("train", data, "--target", "y", *QUICK, *more, "--plot", tmp_path / "p.png", "--force")
        assert (outcome.code, outcome.err) == (0, "")
        assert f"plot     {tmp_path / 'p.png'}" in outcome.out.splitlines()
    assert [title.split(":")[0] for title in titles] == [
        "Loss while training",
        "Predicted against true",
        "Loss while training, 2 networks",
        "Confusion matrix",
        "Loss while training",
    ]


def test_several_targets_have_a_panel_each(command, tmp_path, monkeypatch):
    titles = panels_of(monkeypatch)
    x, _ = made_up()
    np.savez(tmp_path / "two.npz", X=x, Y=np.column_stack([x[:, 0], x[:, 2], x[:, 1]]))
    assert command("train", tmp_path / "two.npz", *QUICK, "--plot", tmp_path / "p.svg", "--json").code == 0
    assert len(titles) == 4


def test_a_picture_that_cannot_be_is_refused_before_training(refused, numbers, models, tmp_path, monkeypatch):
    (tmp_path / "there.png").write_bytes(b"mine")
    table = models / "numbers.csv"
    monkeypatch.setattr("gdkernels.tabular.TabularPredictor.fit", None)  # nothing may come so far
    monkeypatch.setattr("gdkernels.tabular.TabularPredictor.evaluate", None)
    for message, file in (
        ("p.jpg: the name of a picture ends in .png, .svg or .pdf", "p.jpg"),
        ("the name of a picture ends in .png", "png"),
        ("exists already", "there.png"),
        ("does not exist; create it first", "no/p.png"),
    ):
        refused(message, "train", numbers, "--target", "y", "--plot", tmp_path / file)
        refused(message, "evaluate", models / "numbers", table, "--plot", tmp_path / file)
        refused(message, "plot", "loss", models / "numbers", "--out", tmp_path / file)
    same = tmp_path / "same.png"
    refused("name the same file", "train", numbers, "--target", "y", "--plot", same, "--out", same)
    refused("--force says that --out or --plot", "train", numbers, "--target", "y", "--force")
    refused("--force says that --plot", "evaluate", models / "numbers", table, "--force")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    refused(r'pip install "gdkernels\[plot\]"', "train", numbers, "--target", "y", "--plot", tmp_path / "p.png")
    refused(r'pip install "gdkernels\[plot\]"', "evaluate", models / "numbers", table, "--plot", tmp_path / "p.png")
    refused(r'pip install "gdkernels\[plot\]"', "plot", "slope", "--out", tmp_path / "p.png")


def test_what_else_is_refused(refused, models, tmp_path):
    out = ("--out", tmp_path / "p.png")
    refused("arguments are required: PICTURE", "plot")
    refused("arguments are required: --out", "plot", "slope")
    refused("invalid choice: 'pie'", "plot", "pie", *out)
    refused("--start: must be a finite number, got 'inf'", "plot", "slope", "--start", "inf", *out)
    refused("--start: expected 2 arguments", "plot", "surface", "--start", "1", *out)
    refused("--learning-rate: must be a finite number above 0", "plot", "slope", "--learning-rate", "0", *out)
    refused("cannot read the model", "plot", "loss", tmp_path / "none", *out)
    gd.MLP([2, 1], backend="numpy").save(tmp_path / "bare")
    refused("keeps no history", "plot", "loss", tmp_path / "bare", *out)
    refused("says nothing of the columns", "plot", "predictions", tmp_path / "bare", models / "numbers.csv", *out)


def test_force_replaces(command, tmp_path):
    (tmp_path / "p.svg").write_text("old")
    assert command("plot", "slope", "--out", tmp_path / "p.svg", "--force").code == 0
    assert (tmp_path / "p.svg").read_bytes().startswith(BEGINS["svg"])
    assert [p.name for p in tmp_path.iterdir()] == ["p.svg"]


def test_what_was_learned_is_said_where_the_picture_cannot_be_written(command, numbers, tmp_path, monkeypatch):
    def full(*_, **__):
        raise gd.FileError("cannot write p.png: no space left on device")

    monkeypatch.setattr("gdkernels.cli.pictures.write", full)
    files = ("--plot", tmp_path / "p.png", "--out", tmp_path / "m")
    outcome = command("train", numbers, "--target", "y", *QUICK, *files, "--json")
    assert outcome.code == 2
    assert "no space left" in outcome.err
    told = json.loads(outcome.out)
    assert (told["model"], told["plot"]) == (str(tmp_path / "m"), None)
