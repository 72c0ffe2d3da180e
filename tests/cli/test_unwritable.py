"""Where nothing can be written, an error is one line, and nothing is left behind."""

import errno
import os
import re

import pytest


@pytest.fixture
def read_only(monkeypatch):
    """Refuse every new file, as a read-only file system does: root, who often runs tests, may write anywhere else."""
    real = os.open

    def open_read_only(path, flags, mode=0o777, **rest):
        if flags & os.O_CREAT:
            raise OSError(errno.EROFS, "Read-only file system")
        return real(path, flags, mode, **rest)

    monkeypatch.setattr(os, "open", open_read_only)


NOWHERE = [("full_disk", "no space left on device; free some space"), ("read_only", "read-only file system; choose")]


@pytest.mark.parametrize(("disk", "message"), NOWHERE)
def test_a_model_that_cannot_be_written_leaves_nothing(command, numbers, tmp_path, request, disk, message):
    request.getfixturevalue(disk)
    outcome = command("train", numbers, "--target", "y", "--out", tmp_path / "m", "--epochs", 3, "--json")
    assert outcome.code == 2
    assert re.fullmatch(rf"gdkernels: cannot write .*{message}.*\n", outcome.err)
    assert outcome.json["model"] is None  # what was learned is at least said
    assert [p.name for p in tmp_path.iterdir()] == ["numbers.csv"]


@pytest.mark.parametrize(("disk", "message"), NOWHERE)
@pytest.mark.parametrize("name", ["p.csv", "p.parquet"])
@pytest.mark.parametrize("force", [True, False])
def test_predictions_that_cannot_be_written_leave_nothing(
    refused, command, numbers, tmp_path, request, disk, message, name, force
):
    assert command("train", numbers, "--target", "y", "--out", tmp_path / "m", "--epochs", 3).code == 0
    if force:
        (tmp_path / name).write_bytes(b"precious")
    request.getfixturevalue(disk)
    more = ["--force"] if force else []
    refused(f"cannot write .*{name}: {message}", "predict", tmp_path / "m", numbers, "--out", tmp_path / name, *more)


@pytest.mark.parametrize(("disk", "message"), NOWHERE)
def test_models_and_pictures_that_cannot_be_written_leave_nothing(
    refused, command, numbers, tmp_path, request, disk, message
):
    assert command("train", numbers, "--target", "y", "--epochs", 3, "--out", tmp_path / "m").code == 0
    request.getfixturevalue(disk)
    for name, arguments in {
        "m.onnx": ("export", tmp_path / "m"),
        "s.png": ("plot", "slope", "--steps", 2, "--out"),
        "l.svg": ("plot", "loss", tmp_path / "m", "--out"),
        "p.pdf": ("plot", "predictions", tmp_path / "m", numbers, "--out"),
    }.items():
        refused(f"cannot write .*{name}: {message}", *arguments, tmp_path / name)
    for command_line in (("evaluate", tmp_path / "m", numbers), ("train", numbers, "--target", "y", "--epochs", 2)):
        outcome = command(*command_line, "--plot", tmp_path / "e.png")
        assert (outcome.code, outcome.err.count("\n")) == (2, 1)
        assert re.search(f"cannot write .*e.png: {message}", outcome.err)
        assert not (tmp_path / "e.png").exists()
