"""The command as a process: its exit code, what it reads and where it writes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gdkernels.cli import main

ROOT = Path(__file__).parents[2]
# A process that reads diabetes loads scikit-learn for a second. Nearly all remarks on penguins are missing.
QUICK = ("train", "penguins", "--ignore", "Comments", "--epochs", "3")


def process(*arguments, **settings):
    paths = os.pathsep.join([str(ROOT), str(ROOT / "backends")])
    environment = {**os.environ, "PYTHONPATH": paths, "GDKERNELS_BACKEND": "numpy"}
    environment |= settings.pop("env", {})
    command = [sys.executable, "-m", "gdkernels", *arguments]
    return subprocess.run(command, check=False, env=environment, **settings)


def test_as_a_module():
    done = process(*QUICK, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "accuracy" in done.stdout
    done = process("train", "no.csv", capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1


def unread(*arguments):
    """Run a command whose output nobody reads; return its exit code and what it says on stderr."""
    read, write = os.pipe()
    os.close(read)
    done = process(*arguments, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    return done.returncode, done.stderr


def test_a_reader_that_stops_reading_is_no_traceback():
    assert unread("describe", "penguins") == (1, "")


def test_work_that_was_done_is_done_although_nobody_reads_of_it(tmp_path):
    model, table, picture = (str(tmp_path / name) for name in ("m", "p.csv", "p.png"))
    assert unread(*QUICK, "--out", model) == (0, "")
    assert unread("predict", model, "penguins", "--out", table) == (0, "")
    assert unread("evaluate", model, "penguins", "--plot", picture) == (0, "")
    assert all(Path(name).exists() for name in (model, table, picture))
    assert unread("doctor") == (0, "")  # 1 would be a problem of the installation


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full, which is always full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("command", ["train", "predict"])
def test_a_full_stdout_is_a_line(unbuffered, command, monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    if command == "predict":
        assert main([*QUICK, "--out", str(tmp_path / "m")]) == 0
    line = QUICK if command == "train" else ("predict", str(tmp_path / "m"), "penguins")
    with Path("/dev/full").open("w") as full:
        done = process(*line, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("gdkernels: cannot write to stdout: no space left on device; ")
    assert done.stderr.count("\n") == 1


def test_a_terminal_of_another_encoding_shows_what_it_can(tmp_path):
    rows = "\n".join(f"{k},{k * 2}" for k in range(50))
    (tmp_path / "t.csv").write_text(f"größe,Wärme\n{rows}\n", encoding="utf-8")
    done = process(
        *("train", str(tmp_path / "t.csv"), "--target", "Wärme", "--keep", "größe", "--epochs", "2"),
        capture_output=True,
        env={"PYTHONIOENCODING": "ascii:strict"},
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"W\\xe4rme" in done.stdout


def test_help_loads_no_library_that_it_does_not_need():
    code = (
        "import sys; from gdkernels.cli import main; main(['train', '--help']); "
        "print([m for m in ('safetensors', 'tqdm', 'sklearn', 'cupy', 'numba', 'polars') if m in sys.modules], "
        "file=sys.stderr)"
    )
    paths = os.pathsep.join([str(ROOT), str(ROOT / "backends")])
    environment = {**os.environ, "PYTHONPATH": paths}
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment)
    assert done.stderr == "[]\n"


def test_ctrl_c_before_the_command_listens_is_a_line(monkeypatch, capsys):
    """Its modules take some time to load."""

    def interrupted(given):
        raise KeyboardInterrupt

    def in_a_class_that_is_made(given):
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as error:  # as Python 3.11 does around `__set_name__`
            raise RuntimeError("Error calling __set_name__") from error

    for loads in (interrupted, in_a_class_that_is_made):
        monkeypatch.setattr("gdkernels.cli.ranks.CommandRanks", loads)
        assert main(["--version"]) == 130
        assert capsys.readouterr().err == "gdkernels: interrupted\n"


def test_arguments_are_those_of_the_process_by_default(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gdkernels", "--version"])
    assert main() == 0
    assert capsys.readouterr().out.startswith("gdkernels ")
