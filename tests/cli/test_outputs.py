"""Outputs destroy no input, no checkpoint and no other output; two commands with one output both keep their result."""

import json
import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest
from interrupts import interrupted_everywhere

from gdkernels.cli import main
from gdkernels.cli.outputs import claimed
from gdkernels.models import mlp
from gdkernels.system import atomic_files

TRAIN = ("--target", "y", "--epochs", 3, "--average", 1)
ROOT = Path(__file__).parents[2]


@pytest.fixture
def untrained(monkeypatch):
    monkeypatch.setattr(mlp.MLP, "fit", lambda *_, **__: pytest.fail("it was trained"))


@pytest.fixture
def model(command, numbers, tmp_path):
    assert command("train", numbers, *TRAIN, "--out", tmp_path / "m.st").code == 0
    return tmp_path / "m.st"


@pytest.fixture
def main_to(monkeypatch, capsys):
    """Return what runs a command with one of its streams appended to a file, and returns its code and errors."""

    def run(stream, path, *arguments):
        with open(path, "a") as file, monkeypatch.context() as changed:
            changed.setattr(sys, stream, file)
            code = main([str(argument) for argument in arguments])
        return code, capsys.readouterr().err + path.read_text()

    return run


@pytest.mark.parametrize("option", ["--out", "--log-json", "--plot"])
def test_train_writes_over_no_data(refused, numbers, tmp_path, untrained, option):
    data = numbers.rename(tmp_path / "data.png")  # so that --plot takes the name
    refused(f"{option} .*data.png is a file that this command reads", "train", data, *TRAIN, option, data, "--force",
            *(["--out", tmp_path / "m"] if option == "--log-json" else []))  # fmt: skip


def test_nor_through_another_name_of_it(refused, numbers, tmp_path, untrained):
    (tmp_path / "link").symlink_to(numbers)
    os.link(numbers, tmp_path / "hard")
    for name in ("link", "hard", "./numbers.csv", f"../{tmp_path.name}/numbers.csv"):
        refused("is a file that this command reads", "train", numbers, *TRAIN, "--out", f"{tmp_path}/{name}", "--force")


def test_nor_a_file_of_a_folder_of_data(refused, numbers, tmp_path, untrained):
    (tmp_path / "d").mkdir()
    data = numbers.rename(tmp_path / "d" / "part.csv")
    refused("is a file that this command reads", "train", tmp_path / "d", *TRAIN, "--log-json", data)


@pytest.mark.parametrize(("one", "other"), [("--out", "--plot"), ("--out", "--log-json"), ("--plot", "--log-json")])
def test_two_outputs_are_two_files(refused, numbers, tmp_path, untrained, one, other):
    same = tmp_path / "both.png"
    refused(f"{one} and {other} name the same file", "train", numbers, *TRAIN, one, same, other, same)


def test_other_commands_write_over_no_input(refused, numbers, model):
    refused("--out .*m.csv is a file", "predict", model.rename(model.with_suffix(".csv")), numbers, "--out",
            model.with_suffix(".csv"), "--force")  # fmt: skip
    model.with_suffix(".csv").rename(model)
    refused("--out .*numbers.csv is a file", "predict", model, numbers, "--out", numbers, "--force")
    picture = numbers.rename(numbers.with_suffix(".png"))
    refused("--plot .*numbers.png is a file", "evaluate", model, picture, "--plot", picture, "--force")
    refused("numbers.png is a file", "plot", "predictions", model, picture, "--out", picture, "--force")
    onnx = model.rename(model.with_suffix(".onnx"))
    refused("m.onnx is a file", "export", onnx, onnx, "--force")
    refused("--out and --report name the same", "bench", "--out", "r", "--report", "r")
    refused("--report .*numbers.png is a file", "bench", "--data", picture, "--target", "y", "--report", picture,
            "--force")  # fmt: skip


def test_the_names_of_checkpoints_are_theirs(refused, numbers, tmp_path, untrained):
    for name in ("lock", "step-000000000012.safetensors", "network-1"):
        refused("is a name of checkpoints in", "train", numbers, *TRAIN, "--checkpoint", tmp_path / "c", "--out",
                tmp_path / "c" / name)  # fmt: skip


@pytest.mark.parametrize("option", ["--out", "--plot", "--log-json"])
def test_nor_is_the_folder_of_checkpoints_an_output(refused, numbers, tmp_path, untrained, option):
    same = tmp_path / "run.png"  # which is not there before the training
    refused(f"--checkpoint and {option} name the same place", "train", numbers, *TRAIN, "--checkpoint", same, option,
            f"{tmp_path}/./run.png")  # fmt: skip
    assert not same.exists()


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_what_goes_to_a_stream_is_not_replaced(main_to, numbers, tmp_path, untrained, stream):
    (tmp_path / "kept").write_text("before\n")
    (tmp_path / "link").symlink_to("kept")
    for name in ("kept", "link"):
        code, said = main_to(stream, tmp_path / "kept", "train", numbers, *TRAIN, "--out", tmp_path / name, "--force")
        assert code == 2
        assert f"is where {stream} goes; give the output another name" in said
    assert main_to(stream, tmp_path / "kept", "train", numbers, *TRAIN, "--log-json", tmp_path / "kept")[0] == 2
    assert (tmp_path / "kept").read_text().startswith("before\n")


def test_nor_by_the_name_of_the_stream(numbers, tmp_path):
    paths = os.pathsep.join([str(ROOT), str(ROOT / "backends")])
    line = f"{sys.executable} -m gdkernels train {numbers} --target y --out /dev/stdout --force >> kept"
    (tmp_path / "kept").write_text("before\n")
    done = subprocess.run(["sh", "-c", line], env=os.environ | {"PYTHONPATH": paths}, cwd=tmp_path,
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == "gdkernels: --out /dev/stdout is where stdout goes; give the output another name\n"
    assert (tmp_path / "kept").read_text() == "before\n"


def test_a_log_is_appended_to_logs_alone(refused, command, numbers, tmp_path):
    (tmp_path / "precious").write_text("not a log")
    refused("precious is no log of gdkernels", "train", numbers, *TRAIN, "--log-json", tmp_path / "precious")
    for _ in range(2):
        assert command("train", numbers, *TRAIN, "--log-json", tmp_path / "log").code == 0
    assert all(map(json.loads, (tmp_path / "log").read_text().splitlines()))


WRITES = """
import sys
from argparse import Namespace
from gdkernels.cli.outputs import claimed
with claimed(Namespace(out=sys.argv[1])):
    print("begun", flush=True)
    sys.stdin.read()
"""


def test_who_comes_second_is_refused_before_it_trains(refused, command, numbers, tmp_path, monkeypatch):
    monkeypatch.setenv("GDKERNELS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir(mode=0o700)
    first = subprocess.Popen(
        [sys.executable, "-c", WRITES, tmp_path / "m"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert first.stdout.readline() == "begun\n"
    with monkeypatch.context() as patch:
        patch.setattr(mlp.MLP, "fit", lambda *_, **__: pytest.fail("it was trained"))
        refused(rf"another command \(process {first.pid}\) is about to write .*m; wait for it",
                "train", numbers, *TRAIN, "--out", tmp_path / "m", "--force")  # fmt: skip
    first.kill()
    first.communicate()
    assert command("train", numbers, *TRAIN, "--out", tmp_path / "m").code == 0
    assert not list((tmp_path / "cache").glob("*.lock"))


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # a lock that nobody has any more is let go of by Python
def test_an_interrupt_at_any_moment_leaves_an_output_to_the_next_command(tmp_path, monkeypatch):
    monkeypatch.setenv("GDKERNELS_CACHE", str(tmp_path / "cache"))

    def writes():
        with claimed(Namespace(out=str(tmp_path / "m"))):
            pass

    writes()
    for where, raised in interrupted_everywhere(writes):
        assert isinstance(raised, KeyboardInterrupt), where
        writes()
        assert not list((tmp_path / "cache").glob("*.lock")), where


def test_predictions_whose_name_was_taken_are_written_beside(command, numbers, model, tmp_path, monkeypatch):
    real = atomic_files.os.open

    def open_and_lose(path, flags, *rest, **more):
        if str(path).endswith(".tmp"):  # our temporary file: another writes its own at the same time
            (tmp_path / "p.csv").write_text("precious")
        return real(path, flags, *rest, **more)

    monkeypatch.setattr(atomic_files.os, "open", open_and_lose)
    outcome = command("predict", model, numbers, "--out", tmp_path / "p.csv")
    assert outcome.code == 2
    assert f"your result is {tmp_path / 'p-2.csv'}" in outcome.err
    assert str(tmp_path / "p-2.csv") in outcome.out
    assert (tmp_path / "p.csv").read_text() == "precious"
    assert (tmp_path / "p-2.csv").read_text().startswith("predicted y\n")


def test_figures_are_said_where_the_picture_cannot_be_written(command, numbers, model, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic_files.os, "fsync", full)
    outcome = command("evaluate", model, numbers, "--plot", tmp_path / "e.png")
    assert outcome.code == 2
    assert "no space left" in outcome.err
    assert "rmse" in outcome.out
