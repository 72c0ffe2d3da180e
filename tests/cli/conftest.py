"""Small tables, and a command line that runs in this process."""

import json
import re
from dataclasses import dataclass
from typing import Any

import pytest
from made_up import made_up, write_csv

from gdkernels.cli import main


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        def refuse(constant):
            raise AssertionError(f"{constant} is no JSON")

        return json.loads(self.out, parse_constant=refuse)


@pytest.fixture
def command(capsys, monkeypatch):
    """Return what runs the command on the NumPy backend and tells code, stdout and stderr."""
    monkeypatch.setenv("GDKERNELS_BACKEND", "numpy")
    monkeypatch.delenv("GDKERNELS_DEVICE", raising=False)

    def run(*arguments):
        capsys.readouterr()
        code = main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return Outcome(code, out, err)

    return run


@pytest.fixture
def refused(command, tmp_path):
    """Return what asserts that a command is refused with a line on stderr, and writes nothing anywhere."""

    def run(pattern, *arguments, code=2):
        before = {p: p.read_bytes() if p.is_file() else None for p in tmp_path.rglob("*")}
        outcome = command(*arguments)
        assert re.search(pattern, outcome.err), outcome.err
        assert outcome.code == code
        assert outcome.out == ""
        assert outcome.err.count("\n") == 1
        assert outcome.err.startswith("gdkernels: ")
        assert before == {p: p.read_bytes() if p.is_file() else None for p in tmp_path.rglob("*")}

    return run


@pytest.fixture
def numbers(tmp_path):
    """Return a CSV file with a linear target."""
    return write_csv(tmp_path / "numbers.csv", *made_up())


@pytest.fixture
def classes(tmp_path):
    """Return a CSV file with the classes 0, 10 and 20."""
    return write_csv(tmp_path / "classes.csv", *made_up(classes=True))
