"""The cache of compiled code: whole files, of the user's own, in a place that others cannot write to."""

import logging
import os
import subprocess
import sys

import pytest
from gdkernels_numba import code

IR = "define void @nothing(i64 %a) {\n  ret void\n}\n"
TRAINS = """
import time, numpy as np
from gdkernels_numba import NumbaBackend
from gdkernels.backend import Plan, State
from gdkernels.definition.activations import identity, relu
from gdkernels.definition.losses import sse
from gdkernels.definition.network import Layer
from gdkernels.definition.optimizers import SGD
from gdkernels.program import Program
started = time.perf_counter()
one = np.ones((3, 3), np.float32)
state = State((Layer(one, one[0].copy()), Layer(one.copy(), one[0].copy())), (Layer((), ()), Layer((), ())))
program = Program((relu, identity), loss=sse, optimizer=SGD())
executable = NumbaBackend().compile(program, Plan("numba", "cpu", "float32"))
executable.run(state, one, one, np.arange(3), 2, np.full(2, 0.1))
print(time.perf_counter() - started)
"""


@pytest.fixture
def directory(tmp_path, monkeypatch):
    monkeypatch.setenv("GDKERNELS_CACHE", str(tmp_path / "cache"))
    code._directory.cache_clear()
    yield tmp_path / "cache"
    code._directory.cache_clear()


def load(times=None):
    def write():
        if times is not None:
            times.append(1)
        return IR

    return code.load("a" * 8, write, "nothing")


def test_code_is_compiled_once(directory):
    times = []
    for _ in range(3):
        code.function_of(load(times), "nothing", 1)(0)
    assert times == [1]
    assert oct(directory.stat().st_mode & 0o777) == oct(0o700)
    assert sorted(p.suffix for p in directory.iterdir()) == [".ll", ".o"]
    assert (directory / "aaaaaaaa.ll").read_text() == IR


@pytest.mark.parametrize("content", [b"", b"garbage", b"x" * 5000])
def test_a_damaged_file_is_compiled_again(directory, content):
    load()
    (directory / "aaaaaaaa.o").write_bytes(content)
    times = []
    code.function_of(load(times), "nothing", 1)(0)
    assert times == [1]
    load(times)
    assert times == [1]


@pytest.mark.parametrize("what", ["open to others", "a file", "not creatable"])
def test_a_place_that_cannot_be_trusted_is_not_used(directory, what, caplog):
    if what == "open to others":
        directory.mkdir()
        directory.chmod(0o777)
    elif what == "a file":
        directory.write_text("")
    else:
        directory.parent.joinpath("cache").write_text("")
        os.environ["GDKERNELS_CACHE"] = str(directory / "below")
    with caplog.at_level(logging.WARNING, "gdkernels"):
        code.function_of(load(), "nothing", 1)(0)
        load()
    assert len(caplog.records) == 1
    assert "for this process only" in caplog.text
    if what == "open to others":
        assert not list(directory.iterdir())


def test_somebody_elses_directory_is_not_used(directory, monkeypatch, caplog):
    directory.mkdir(mode=0o700)
    monkeypatch.setattr(os, "getuid", lambda: directory.stat().st_uid + 1)
    load()
    assert "belongs to user" in caplog.text
    assert not list(directory.iterdir())


def test_a_full_disk_is_survived(directory, monkeypatch, caplog):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    code.function_of(load(), "nothing", 1)(0)
    assert "No space left" in caplog.text
    assert not list(directory.iterdir())


def test_keys_tell_code_apart(monkeypatch):
    keys = {code.digest("a", "b"), code.digest("ab"), code.digest("a", "c")}
    monkeypatch.setattr(code, "machine_name", lambda: "another machine")
    assert len(keys | {code.digest("a", "b")}) == 4


def test_two_processes_compile_at_once_and_the_next_starts_fast(tmp_path):
    environment = os.environ | {"GDKERNELS_CACHE": str(tmp_path / "cache")}

    def start():
        return subprocess.Popen(
            [sys.executable, "-c", TRAINS], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    processes = [start(), start()]
    for process in processes:
        out, err = process.communicate()
        assert process.returncode == 0, err
    out, err = start().communicate()
    assert not err
    assert float(out) < 1.0
