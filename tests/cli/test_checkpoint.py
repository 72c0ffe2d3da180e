"""``gdkernels train --checkpoint``: stopped, and gone on with."""

import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from made_up import made_up, write_csv

import gdkernels as gd
from gdkernels import files


@pytest.fixture
def train(command, tmp_path):
    write_csv(tmp_path / "t.csv", *made_up())

    def run(*more, epochs=6):
        return command("train", tmp_path / "t.csv", "--target", "y", "--epochs", epochs, "--hidden", "8", *more)

    return run


def parameters(path):
    return {name: tensor.tobytes() for name, tensor in files.read_model(path)[0].items()}


@pytest.mark.parametrize("networks", [1, 2])
def test_going_on_ends_with_the_same_model(train, tmp_path, networks):
    several = ("--average", networks)
    assert train(*several, "--out", tmp_path / "whole").code == 0
    kept = ("--checkpoint", tmp_path / "c", "--every", "1 epochs", *several)
    assert train(*kept).code == 0
    assert {p.name for p in (tmp_path / "c").iterdir()} == {f"network-{k + 1}" for k in range(networks)}
    for newest in (max(folder.glob("step-*")) for folder in (tmp_path / "c").iterdir()):
        newest.unlink()
    outcome = train(*kept, "--resume", "--out", tmp_path / "m")
    assert outcome.code == 0, outcome.err
    assert parameters(tmp_path / "m") == parameters(tmp_path / "whole")


def test_resume_starts_where_there_is_nothing(train, tmp_path):
    assert train("--checkpoint", tmp_path / "c", "--resume").code == 0


@pytest.mark.parametrize(
    ("options", "pattern"),
    [
        (("--resume",), "give --checkpoint DIR too"),
        (("--checkpoint", "{}/c", "--every", "often"), 'as in "30s"'),
        (("--checkpoint", "{}/none/c"), "cannot keep checkpoints in .*: no such file or directory"),
    ],
)
def test_mistakes(train, refused, tmp_path, options, pattern):
    given = [o.replace("{}", str(tmp_path)) for o in options]
    write_csv(tmp_path / "t.csv", *made_up())
    refused(pattern, "train", tmp_path / "t.csv", "--target", "y", *given)


def test_checkpoints_of_another_run(train, tmp_path):
    train("--checkpoint", tmp_path / "c")
    outcome = train("--checkpoint", tmp_path / "c", "--resume", epochs=7)
    assert (outcome.code, "epochs is 7 and was 6" in outcome.err) == (2, True)
    outcome = train("--checkpoint", tmp_path / "c")
    assert (outcome.code, "already; --resume goes on from them" in outcome.err) == (2, True)


@pytest.mark.usefixtures("signals_heard")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals(tmp_path, number, code):
    write_csv(tmp_path / "t.csv", *made_up())
    program = "import sys; from gdkernels.cli import main; sys.exit(main(sys.argv[1:]))"
    arguments = ("train", "t.csv", "--target", "y", "--epochs", "1000000", "--patience", "0", "--backend", "numpy")
    run = subprocess.Popen(
        [sys.executable, "-c", program, *arguments, "--average", "1", "--checkpoint", "c", "--every", "1 epochs"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while run.poll() is None and not list(tmp_path.glob("c/network-1/step-*")):
        time.sleep(0.01)
    run.send_signal(number)
    out, error = run.communicate(timeout=60)
    assert (run.returncode, out, error.count("\n")) == (code, "", 1), error
    assert f"{number.name} ended training; its checkpoint is in c/network-1; --resume continues from it" in error


def test_retries(train):
    outcome = train("--optimizer", "sgd", "--learning-rate", "1e3", "--retries", "60", "--json")
    assert outcome.code == 0
    assert "Going on from the start at half the rate" in outcome.err
    assert train("--optimizer", "sgd", "--learning-rate", "1e3").code == 1


def test_the_bits_of_a_model_are_those_of_its_parameters(train, tmp_path):
    """What the comparison above rests on: another seed gives other bytes."""
    for seed in (0, 1):
        assert train("--seed", seed, "--out", tmp_path / str(seed)).code == 0
    assert parameters(tmp_path / "0") != parameters(tmp_path / "1")
    assert np.isfinite(gd.load(tmp_path / "0").network.parameters[0].W).all()
