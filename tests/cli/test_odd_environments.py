"""No home, closed streams, signals, the first process of a container, a terminal that goes: nothing is lost for it."""

import os
import pwd
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from made_up import made_up, write_csv

import gdkernels as gd
from gdkernels.cli import main
from gdkernels.system import progress
from gdkernels.system.cache_folder import cache_folder
from gdkernels.training.progress import Progress

ROOT = Path(__file__).parents[2]
PATHS = os.pathsep.join([str(ROOT), str(ROOT / "backends")])
ENVIRONMENT = os.environ | {"PYTHONPATH": PATHS, "GDKERNELS_BACKEND": "numpy"}
TRAIN = ("train", "penguins", "--ignore", "Comments", "--epochs", "3", "--hidden", "3")


def shell(tmp_path, line):
    """Run a command with what a shell can do to its streams."""
    whole = f"{shlex.quote(sys.executable)} -m gdkernels {line}"
    return subprocess.run(
        ["sh", "-c", whole], env=ENVIRONMENT, cwd=tmp_path, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Return the bytes of a model."""
    folder = tmp_path_factory.mktemp("model")
    write_csv(folder / "t.csv", *made_up())
    shell(folder, "train t.csv --target y --epochs 3 --hidden 3 --out m")
    return (folder / "m").read_bytes()


# ---- no home


@pytest.fixture
def homeless(monkeypatch):
    def nobody(_):
        raise KeyError("no entry")

    for name in ("HOME", "XDG_CACHE_HOME", "GDKERNELS_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)


def test_without_a_home_the_cache_is_among_temporary_folders(homeless, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert cache_folder() == tmp_path / f"gdkernels-{os.getuid()}"
    monkeypatch.setenv("HOME", "")
    assert cache_folder() == tmp_path / f"gdkernels-{os.getuid()}"
    monkeypatch.setenv("HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/.cache/gdkernels")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder() == Path("/somewhere/.cache/gdkernels")
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert cache_folder() == Path("/elsewhere/gdkernels")


def test_without_a_home_and_a_place_for_temporary_files_work_is_done(homeless, tmp_path, monkeypatch, capsys):
    def none():
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr("tempfile.gettempdir", none)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "file"))  # in which nobody can make a folder, root neither
    (tmp_path / "file").touch()
    monkeypatch.setenv("GDKERNELS_BACKEND", "numpy")
    assert main([*TRAIN, "--out", str(tmp_path / "m")]) == 0
    assert main(["predict", str(tmp_path / "m"), "penguins"]) == 0
    assert main(["cache"]) == 0
    assert capsys.readouterr().err == ""
    assert main(["doctor"]) == 1
    assert "set TMPDIR to a folder that can be written" in capsys.readouterr().out


# ---- closed streams


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_streams_that_are_closed(tmp_path, closed):
    done = shell(tmp_path, f"{shlex.join(TRAIN)} --out m {closed}")
    assert (done.returncode, done.stderr) == (0, "")
    assert gd.load(tmp_path / "m", backend="numpy")
    assert ("accuracy" in done.stdout) == (">&-" not in closed.split())


def test_errors_never_go_to_stdout(tmp_path):
    done = shell(tmp_path, "train no.csv 2>&-")
    assert (done.returncode, done.stdout) == (2, "")


def test_predictions_that_nobody_could_read_are_refused_at_once(tmp_path, model):
    (tmp_path / "m").write_bytes(model)
    write_csv(tmp_path / "t.csv", *made_up())
    done = shell(tmp_path, "predict m t.csv >&-")
    assert done.returncode == 2
    assert "stdout is closed, and predictions go there; give --out FILE" in done.stderr
    assert shell(tmp_path, "predict m t.csv --out p.csv >&-").returncode == 0
    assert len((tmp_path / "p.csv").read_text().splitlines()) == 241


# ---- signals


# Prediction that is never done by itself, however long the system keeps whoever looks on from it.
ENDLESS = """
import itertools, sys
from gdkernels.cli import main
from gdkernels.tabular import TabularPredictor
parts = TabularPredictor.predict_parts
TabularPredictor.predict_parts = lambda *given: itertools.cycle([*parts(*given)])
sys.exit(main(["predict", "m", "t.csv", "--out", "p.csv"]))
"""


@pytest.mark.usefixtures("signals_heard")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_a_signal_leaves_no_temporary_file(tmp_path, model, number, code):
    (tmp_path / "m").write_bytes(model)
    (tmp_path / "t.csv").write_text("a,b,c\n" + "0,0,0\n" * 1000)
    run = subprocess.Popen(
        [sys.executable, "-c", ENDLESS],
        cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        while not any(tmp_path.glob(".gdkernels-*")) and run.poll() is None:
            time.sleep(0.01)
        run.send_signal(number)
        _, error = run.communicate(timeout=60)
    finally:
        run.kill()
    assert run.returncode == code, error
    assert error.count("\n") == 1
    assert not list(tmp_path.glob(".gdkernels-*"))
    assert not (tmp_path / "p.csv").exists()


def test_handlers_of_others_are_left_alone(monkeypatch, capsys):
    heard = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    try:
        monkeypatch.setattr("gdkernels.cli.inspect.run", lambda args: None)
        monkeypatch.setattr(
            "gdkernels.cli.describe.TabularPredictor.describe", lambda *_: os.kill(os.getpid(), signal.SIGTERM)
        )
        main(["describe", "diabetes"])
        assert heard == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)
    assert "SIGTERM" not in capsys.readouterr().err


FIRST = """
import os, signal, sys
from gdkernels.cli import main
from gdkernels.models import mlp
mlp.MLP.fit = lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM)
print(os.getpid(), main(["train", "penguins", "--hidden", "3"]))
"""


def test_the_first_process_of_a_container_hears_signals(tmp_path):
    able = subprocess.run(["unshare", "--pid", "--fork", "true"], capture_output=True, check=False)
    if able.returncode:
        pytest.skip("unshare cannot make a namespace of processes here")
    done = subprocess.run(
        ["unshare", "--pid", "--fork", sys.executable, "-c", FIRST],
        env=ENVIRONMENT, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "1 143\n", done.stderr
    assert done.stderr == "gdkernels: ended by SIGTERM\n"


# ---- a terminal that goes


class Gone:
    """A bar on a terminal that was closed."""

    def set_postfix_str(self, *_, **__):
        pass

    def update(self, *_):
        raise OSError(5, "Input/output error")

    def close(self):
        pass


def test_work_goes_on_when_its_terminal_has_gone(monkeypatch):
    monkeypatch.setattr("gdkernels.training.progress.progress_bar", lambda *_, **__: Gone())
    monkeypatch.setattr(progress, "progress_bar", lambda *_, **__: Gone())
    assert Progress(3, True)
    X = np.ones((8, 2), np.float32)
    assert len(gd.MLP([2, 1], seed=0, backend="numpy").fit(X, X[:, :1], epochs=3, progress=True).epochs) == 3
    with progress.RecordCount("reading", True) as bar:
        bar.update(3)
        bar.update(4)
    assert bar.done == 7
