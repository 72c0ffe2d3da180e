"""The cache of compiled code: whole files, of the user's own, in a place that others cannot write to."""

import io
import logging
import os
import subprocess
import sys

import pytest
from gdkernels_numba import compilation
from gdkernels_numba.cpu import jit
from gdkernels_numba.ir.format import Format
from gdkernels_numba.vm.instructions import INTERPRETER

IR = "define void @nothing(i64 %a) {\n  ret void\n}\n"
TRAINS = """
import logging, numpy as np
compiled = []
log = logging.getLogger("gdkernels")
log.setLevel(logging.DEBUG)
log.addFilter(lambda record: compiled.append(1) if record.msg.startswith("compiled %s in") else True)
from gdkernels_numba import NumbaBackend
from gdkernels.backend import Plan, State
from gdkernels.definition.activations import identity, relu
from gdkernels.definition.losses import sse
from gdkernels.definition.chain import chain
from gdkernels.definition.objective import Objective
from gdkernels.definition.optimizers import SGD
from gdkernels.backend.program import Program
one = np.ones((3, 3), np.float32)
parameters = {"W0": one, "b0": one[0].copy(), "W1": one.copy(), "b1": one[0].copy()}
state = State(parameters, dict.fromkeys(parameters, ()))
program = Program(chain((3, 3), (relu, identity)), 3, objective=Objective(sse), optimizer=SGD())
executable = NumbaBackend().compile(program, Plan("numba", "cpu", "float32"))
executable.run(state, one, one, np.arange(3), 2, np.full(2, 0.1))
print("compiled" if compiled else "found", state.parameters["W0"].tobytes().hex())
"""


@pytest.fixture
def directory(tmp_path, monkeypatch):
    monkeypatch.setenv("GDKERNELS_CACHE", str(tmp_path / "cache"))
    jit._folder.cache_clear()
    yield tmp_path / "cache"
    jit._folder.cache_clear()


def load(times=None):
    def write():
        if times is not None:
            times.append(1)
        return IR

    return jit.load("a" * 8, write, "nothing")


def test_code_is_compiled_once(directory):
    times = []
    for _ in range(3):
        jit.function_of(load(times), "nothing", 1)(0)
    assert times == [1]
    assert oct(directory.stat().st_mode & 0o777) == oct(0o700)
    assert sorted(p.suffix for p in directory.iterdir()) == [".ll", ".o"]
    assert (directory / "aaaaaaaa.ll").read_text() == IR


def flipped(place):
    return lambda content: content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        *(lambda content, n=n: content[:n] for n in (0, 1, 31, 32, 33, 500)),
        *(flipped(place) for place in (0, 31, 32, 33, 100, -1)),
        lambda content: content + b"\0",
        lambda content: b"x" * 5000,
    ],
)
def test_a_damaged_file_is_compiled_again(directory, damage):
    load()
    path = directory / "aaaaaaaa.o"
    path.write_bytes(damage(whole := path.read_bytes()))
    assert path.read_bytes() != whole
    times = []
    jit.function_of(load(times), "nothing", 1)(0)
    assert times == [1]
    load(times)
    assert times == [1]
    assert path.read_bytes() == whole


def test_a_file_that_cannot_be_read_or_replaced(directory, caplog):
    load()
    (directory / "aaaaaaaa.o").unlink()
    (directory / "aaaaaaaa.o").mkdir()
    times = []
    for _ in range(2):
        jit.function_of(load(times), "nothing", 1)(0)
    assert times == [1, 1]
    assert "compiled code is not kept, so the next process compiles anew: cannot write" in caplog.text


@pytest.mark.parametrize("what", ["open to others", "read-only", "a file", "not creatable"])
def test_a_place_that_cannot_be_trusted_is_not_used(directory, what, caplog, monkeypatch):
    if what == "open to others":
        directory.mkdir()
        directory.chmod(0o777)
    elif what == "read-only":
        monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere, and tests often run as root
    elif what == "a file":
        directory.write_text("")
    else:
        directory.parent.joinpath("cache").write_text("")
        os.environ["GDKERNELS_CACHE"] = str(directory / "below")
    with caplog.at_level(logging.WARNING, "gdkernels"):
        jit.function_of(load(), "nothing", 1)(0)
        load()
    assert len(caplog.records) == 1
    assert "compiled code is not kept, so each process compiles anew" in caplog.text
    if directory.is_dir():
        assert not list(directory.iterdir())


def test_somebody_elses_directory_is_not_used(directory, monkeypatch, caplog):
    directory.mkdir(mode=0o700)
    monkeypatch.setattr(os, "getuid", lambda: directory.stat().st_uid + 1)
    load()
    assert "belongs to user" in caplog.text
    assert not list(directory.iterdir())


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_is_survived(directory, caplog):
    jit.function_of(load(), "nothing", 1)(0)
    assert "no space left" in caplog.text
    assert not list(directory.iterdir())


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_is_told_once_what_takes_a_while(directory, monkeypatch, caplog):
    monkeypatch.setattr(compilation, "_shared", {})
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with caplog.at_level(logging.INFO, "gdkernels"):
        compilation.shared_kernels(Format("float32", 4))
        compilation._shared.clear()
        compilation.shared_kernels(Format("float32", 4))
    line = f"compiling the engine for this processor, which takes some seconds; the next start finds it in {directory}"
    assert terminal.getvalue() == f"gdkernels: {line}\n"
    assert [record.message for record in caplog.records].count(line) == 1


def test_a_stream_that_is_no_terminal_is_told_nothing(directory, monkeypatch, capsys):
    jit.load("a" * 8, lambda: IR, "nothing", announced=True)
    terminal = Terminal()
    terminal.close()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(Terminal, "isatty", lambda self: True)
    jit.load("b" * 8, lambda: IR, "nothing", announced=True)  # one that has gone ends nothing
    assert capsys.readouterr().err == ""


def test_keys_tell_code_apart(monkeypatch):
    keys = {jit.digest("a", "b"), jit.digest("ab"), jit.digest("a", "c")}
    monkeypatch.setattr(jit, "machine_name", lambda: "another machine")
    assert len(keys | {jit.digest("a", "b")}) == 4


def test_processes_compile_at_once_the_next_finds_it_and_what_is_damaged_is_compiled_again(tmp_path):
    def start():
        environment = os.environ | {"GDKERNELS_CACHE": str(tmp_path / "cache")}
        return subprocess.Popen(
            [sys.executable, "-c", TRAINS], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def ended(process):
        out, err = process.communicate()
        assert (process.returncode, err) == (0, "")
        return out.split()

    (first, bits), (second, others) = map(ended, [start(), start()])
    assert "compiled" in {first, second}
    assert bits == others
    assert ended(start()) == ["found", bits]
    objects = {path: path.read_bytes() for path in (tmp_path / "cache").glob("*.o")}
    # What is whole is not compiled again, and what is damaged is.
    whole = {path for path in objects if INTERPRETER in path.with_suffix(".ll").read_text()}
    assert len(objects) - len(whole) == 2
    assert len(whole) == 1
    for k, path in enumerate(path for path in objects if path not in whole):
        path.write_bytes(flipped(33 * k)(objects[path]))
    before = {path: path.stat().st_mtime_ns for path in whole}
    assert ended(start()) == ["compiled", bits]
    assert {path: path.read_bytes() for path in objects} == objects
    assert {path: path.stat().st_mtime_ns for path in whole} == before
    assert not list((tmp_path / "cache").glob(".*"))
