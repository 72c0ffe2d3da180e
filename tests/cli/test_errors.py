"""Every error is one line on stderr, with the right exit code, and nothing is written."""

import re

import numpy as np
import pytest

import gdkernels as gd
from gdkernels import __version__
from gdkernels.cli.arguments import option
from gdkernels.models import mlp


def test_version(command):
    assert command("--version").out == f"gdkernels {__version__}\n"
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)


def test_messages_have_the_words_of_the_command():
    told = option("solver", "lbfgs"), option("precision", "float64"), option("overwrite", True), option("hidden", ())
    assert told == ("--optimizer lbfgs", "--precision float64", "--force", "--hidden none")


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"]])
def test_help(command, arguments):
    outcome = command(*arguments)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("usage: gdkernels")


def test_help_names_every_option_and_default(command):
    text = command("train", "--help").out
    options = (
        "target hidden activation loss optimizer learning-rate momentum nesterov l2 clip-norm schedule epochs "
        "batch-size validation test patience starts seed backend device precision out force json task ignore keep "
        "categorical numeric drop-missing class-weight average"
    )
    for name in options.split():
        assert f"--{name} " in text or f"--{name}\n" in text
    assert "reduce_on_plateau" in text
    assert "bfloat16" in text


@pytest.mark.parametrize(
    ("arguments", "pattern"),
    [
        ([], "COMMAND"),
        (["trian"], "trian"),
        (["train"], "DATA.*see gdkernels train --help"),
        (["train", "digits", "--hiden", "5"], "--hiden"),
        (["train", "digits", "--hid", "5"], "--hid"),
        (["train", "digits", "--lr", "5"], "no option --lr. Did you mean --learning-rate"),
        (["train", "digits", "--test-size=0.3"], "no option --test-size. Did you mean --test"),
        (["train", "digits", "--hidden", "5,x"], "--hidden: must be the units of each hidden layer, such as 128,64"),
        (["train", "digits", "--hidden", "5,0"], "--hidden: must be"),
        (["train", "digits", "--hidden", ""], "--hidden: must be"),
        (["train", "digits", "--activation", "relo"], "--activation: unknown activation 'relo'. Did you mean 'relu'"),
        (["train", "digits", "--loss", "l2"], "--loss: unknown loss 'l2'.*Choices: .*sse"),
        (["train", "digits", "--optimizer", "lbgs"], "--optimizer: unknown optimizer 'lbgs'. Did you mean 'lbfgs'"),
        (["train", "digits", "--optimizer", "lm", "--momentum", "0.9"], "--momentum is for optimizers; lm has none"),
        (["train", "digits", "--optimizer", "lm", "--batch-size", "9"], "--batch-size is for optimizers; lm uses all"),
        (["train", "digits", "--schedule", "cos"], "--schedule: unknown schedule .*Did you mean 'cosine'"),
        (["train", "digits", "--precision", "float16"], "--precision: unknown precision .*float32"),
        (["train", "digits", "--task", "ranking"], "--task: unknown task .*classification, regression"),
        (["train", "digits", "--learning-rate", "0"], "--learning-rate: must be a finite number above 0, got '0'"),
        (["train", "digits", "--learning-rate", "nan"], "--learning-rate: must be"),
        (["train", "digits", "--learning-rate", "-1"], "--learning-rate: must be"),
        (["train", "digits", "--momentum", "1", "--optimizer", "sgd"], "--momentum: must be .* below 1"),
        (["train", "digits", "--momentum", "0.5"], "--momentum is for --optimizer sgd; adam has none"),
        (["train", "digits", "--nesterov"], "--nesterov is for --optimizer sgd"),
        (["train", "digits", "--optimizer", "sgd", "--momentum", "0", "--nesterov"], "nesterov needs momentum"),
        (["train", "digits", "--l2", "-0.1"], "--l2: must be a finite number of at least 0"),
        (["train", "digits", "--clip-norm", "0"], "--clip-norm: must be"),
        (["train", "digits", "--epochs", "0"], "--epochs: must be a whole number of at least 1, got '0'"),
        (["train", "digits", "--epochs", "1.5"], "--epochs: must be a whole number"),
        (["train", "digits", "--batch-size", "0"], "--batch-size: must be"),
        (["train", "digits", "--patience", "-1"], "--patience: must be"),
        (["train", "digits", "--starts", "0"], "--starts: must be"),
        (["train", "digits", "--seed", "-1"], "--seed: must be a whole number of at least 0"),
        (["train", "digits", "--test", "1"], "--test: must be a number of at least 0 and below 1"),
        (["train", "digits", "--validation", "x"], "--validation: must be a number"),
        (["train", "digits", "--force"], "give --out MODEL or --plot FILE too"),
        (["train", "digits", "--backend", "nunpy"], "unknown backend 'nunpy'. Did you mean 'numpy'"),
        (["train", "digits", "--device", "cuda:7"], "no device 'cuda:7'.*it has cpu"),
        (["train", "digits", "--precision", "tf32"], "cannot do precision 'tf32'"),
        (["train", "digits", "--target", "age"], "digits has no column 'age'"),
        (
            ["train", "digits", "--loss", "poisson", "--task", "classification"],
            "--loss poisson is not for classification",
        ),
        (["train", "digits", "--loss", "binary_cross_entropy"], "for two classes; 'digit' has 10"),
        (["train", "diabetes", "--loss", "cross_entropy"], "different values in 442 records: too many"),
        (["train", "diabetes", "--task", "regression", "--loss", "cross_entropy"], "--loss cross_entropy is not for"),
        (["train", "diabetes", "--average", "1000000000000"], "--average 1000000000000 needs .* average fewer"),
        (["train", "diabetes", "--ignore", "progression"], "'progression' is the target, and --ignore is for inputs"),
        (["describe", "diabetes", "--keep", "progression"], "'progression' is the target, and --keep is for inputs"),
        (["train", "digits", "--bounds", "0:9"], "--bounds is for numbers; leave it out for classes"),
        (["train", "diabetes", "--every", "2h"], "--every is for checkpoints; give --checkpoint DIR too"),
        *((["train", "diabetes", option, "9" * 400 + unit], "must be .*as in.*got '9{60}'")
          for option, unit in (("--every", "epochs"), ("--time-limit", "s"))),
        (["train", "diabetes", "--memory", "9" * 400 + "GB"], "--memory: must be a size such as 512MB or 2GB"),
        (["trian", "digits"], "invalid choice: 'trian'.*Did you mean train"),
        (["train", "digits", "--hiden", "8"], "no option --hiden. Did you mean --hidden\\? .*train --help"),
        (["train", "digits", "--hiden=8"], "no option --hiden. Did you mean"),
        (["export", "model", "a.onnx", "b.onnx"], "one argument too many: 'b.onnx'"),
        (["train", "no.csv"], "no file no.csv"),
        (["train", ""], "the name of a table is empty: give a file"),
        (["train", "diabetes", "--test-file", ""], "the name of a table is empty"),
        (["train", "diabetes", "--out", ""], "the name of the file to write is empty"),
        (["predict", "", "diabetes"], "the name of the model to read is empty"),
    ],
)  # fmt: skip
def test_what_can_be_mended_is_2(refused, arguments, pattern, monkeypatch):
    monkeypatch.setattr(mlp.MLP, "fit", lambda *_, **__: pytest.fail("it was trained"))
    refused(pattern, *arguments)


@pytest.mark.parametrize(
    ("content", "pattern"),
    [
        ("", "is empty"),
        ("a,y\n", "no records"),
        ("a,y\n1,2\n3\n", "line 3"),
        ("a,y\n" + "1,2\n" * 50 + "3,blue\n", "record 51 of .*column 'y': 'blue' is not a number, but nearly all"),
        ("a,y\n" + "1,2\n" * 50 + "blue,3\n", "record 51 of .*column 'a': 'blue' is not a number.*--ignore a"),
        ("a,y\n1,nan\n3,4\n", "target 'y' has no value in 1 of 2 records .*first in record 1; .*--drop-missing"),
        ("a,y\n1,inf\n3,4\n", "record 1 of .*column 'y': 'inf' is not a finite number"),
        ("a,a,y\n1,2,3\n", "both named 'a'"),
        ("a,z\n1,2\n", "no column 'y'"),
        ("a,y\n1,2\n", "1 record is too few"),
        ("a,y\n" + "1,2\n" * 50, "one class only, 2: there is nothing to learn"),
        ("a,y\n" + "1,2.5\n" * 50, "same value in every record"),
    ],
)
def test_a_bad_table_is_2(refused, tmp_path, content, pattern):
    (tmp_path / "t.csv").write_text(content)
    refused(pattern, "train", tmp_path / "t.csv", "--target", "y", "--out", tmp_path / "m")


def test_a_missing_target_is_2(refused, numbers):
    refused("--target COLUMN; it has a, b, c, y", "train", numbers)


def test_a_target_beyond_the_precision_is_found_before_training(refused, tmp_path, monkeypatch):
    """Also in a row kept for the test, which nothing looks at before the end."""
    from gdkernels.randomness import generator
    from gdkernels.tables import split

    monkeypatch.setattr(mlp.MLP, "fit", lambda *_, **__: pytest.fail("it was trained"))
    x = np.random.default_rng(0).normal(size=(100, 2))
    y = x[:, 0].copy()
    _, test = split(100, 0.2, generator(0, "test"))
    for value, pattern in (
        (-1e100, rf"record {test[3] + 1} of .*'Y': -1e\+100 is too far"),
        (1e200, rf"'Y' has numbers too large .* 1e\+200 in record {test[3] + 1}:"),
    ):
        y[test[3]] = value
        np.savez(tmp_path / "d.npz", X=x, Y=y)
        refused(pattern, "train", tmp_path / "d.npz")


def test_an_existing_model_is_kept(refused, numbers, tmp_path, monkeypatch):
    (tmp_path / "m").write_bytes(b"precious")
    monkeypatch.setattr(mlp.MLP, "fit", lambda *_, **__: pytest.fail("it was trained"))
    refused("m exists already; .*, pass --force$", "train", numbers, "--target", "y", "--out", tmp_path / "m")


@pytest.mark.parametrize(
    ("name", "pattern"),
    [("no/m", "folder .* does not exist"), (".", "it is a folder"), ("numbers.csv/m", "not a folder")],
)
def test_a_bad_place_for_the_model_is_found_before_training(refused, numbers, tmp_path, name, pattern, monkeypatch):
    monkeypatch.setattr(mlp.MLP, "fit", lambda *_, **__: pytest.fail("it was trained"))
    refused(pattern, "train", numbers, "--target", "y", "--out", tmp_path / name)


def test_a_model_that_appears_meanwhile_is_kept_and_ours_is_written_beside(command, numbers, tmp_path, monkeypatch):
    real = mlp.MLP.fit

    def fit(self, *args, **settings):
        (tmp_path / "m").write_bytes(b"precious")
        return real(self, *args, **settings)

    monkeypatch.setattr(mlp.MLP, "fit", fit)
    (tmp_path / "m-2").write_bytes(b"precious too")
    outcome = command("train", numbers, "--target", "y", "--out", tmp_path / "m", "--epochs", 3, "--json")
    assert outcome.code == 2
    assert (
        f"somebody else wrote {tmp_path / 'm'} meanwhile, and it was left as it is; your result is {tmp_path / 'm-3'}"
        in outcome.err
    )
    assert outcome.json["model"] == str(tmp_path / "m-3")
    assert gd.load(tmp_path / "m-3")
    assert (tmp_path / "m-2").read_bytes() == b"precious too"
    assert outcome.json["metrics"]["rmse"] > 0
    assert (tmp_path / "m").read_bytes() == b"precious"


@pytest.mark.parametrize("starts", [1, 2])
def test_divergence_is_1_with_advice(refused, numbers, tmp_path, starts):
    refused(
        r"diverged in epoch \d+; lower --learning-rate \(it was 1e\+30\), .*--clip-norm",
        *("train", numbers, "--target", "y", "--out", tmp_path / "m", "--learning-rate", "1e30", "--starts", starts),
        code=1,
    )


def test_interrupted_is_130(refused, numbers, tmp_path, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(mlp.MLP, "fit", interrupt)
    alone = "--epochs", 2, "--average", 1  # or several are trained before, to choose how long
    refused("interrupted", "train", numbers, "--target", "y", *alone, "--out", tmp_path / "m", code=130)


@pytest.mark.parametrize(
    ("error", "pattern"),
    [
        (RuntimeError("two\nlines"), "RuntimeError: two lines; --debug shows where"),
        (MemoryError(), "out of memory; .*--batch-size"),
    ],
)
def test_what_nobody_expected_is_1(refused, numbers, monkeypatch, error, pattern):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(mlp.MLP, "fit", fail)
    refused(pattern, "train", numbers, "--target", "y", "--epochs", 2, "--average", 1, code=1)


@pytest.mark.parametrize("arguments", [["train", "no.csv"], ["train", "digits", "--epochs", "0"]])
def test_debug_shows_the_traceback(command, arguments):
    outcome = command(*arguments, "--debug")
    assert outcome.code == 2
    assert outcome.err.startswith("Traceback (most recent call last):")


def test_a_warning_of_the_library_is_a_line(command, numbers, monkeypatch):
    import logging

    real = mlp.MLP.fit

    def fit(self, *args, **settings):
        logging.getLogger("gdkernels").warning("backend %r cannot run here; falling back", "cupy")
        return real(self, *args, **settings)

    monkeypatch.setattr(mlp.MLP, "fit", fit)
    outcome = command("train", numbers, "--target", "y", "--epochs", 2, "--average", 1)
    assert outcome.code == 0
    assert outcome.err == "gdkernels: backend 'cupy' cannot run here; falling back\n"
    assert not [h for h in logging.getLogger("gdkernels").handlers if isinstance(h, logging.StreamHandler)]
