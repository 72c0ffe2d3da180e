"""A run that was stopped, or whose file was damaged, ends with the bits of one that was never disturbed."""

import contextlib
import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from interrupts import interrupted_everywhere
from soak import in_a_write, soak
from training import fit, told, trainer

import gdkernels as gd
from gdkernels.files.checkpoint_folder import Folder
from gdkernels.training.checkpointing import StopSignals

PROGRAM = Path(__file__).with_name("training.py")


def process(folder, *more, backend="numpy"):
    return subprocess.Popen(
        [sys.executable, PROGRAM, folder, backend, *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def files(folder):
    return sorted(folder.glob("step-*"))


@pytest.fixture
def stopped(tmp_path):
    """Return a folder with the checkpoints of a fit that was stopped, and what it would have come to."""
    made = trainer()
    expected = told(made, fit(made, tmp_path / "whole"))
    for late in files(tmp_path / "whole")[6:]:
        late.unlink()
    return tmp_path / "whole", expected


def end(folder):
    made = trainer()
    return told(made, fit(made, folder))


# ---- damaged files


def cut(data):
    return data[: len(data) // 2]


def flip(data):
    return data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]


@pytest.mark.parametrize("damage", [cut, flip, lambda data: b"", lambda data: b"something else"])
def test_the_newest_intact_one_is_used(stopped, damage, caplog):
    folder, expected = stopped
    for path in files(folder)[-2:]:
        path.write_bytes(damage(path.read_bytes()))
    assert end(folder) == expected
    assert caplog.text.count("a checkpoint is damaged") == 2


def test_no_intact_one(stopped):
    for path in files(stopped[0]):
        path.write_bytes(cut(path.read_bytes()))
    with pytest.raises(gd.FileError, match="no checkpoint in .* can be used: .* cut short"):
        end(stopped[0])


def test_what_a_killed_write_left_is_removed(stopped):
    folder, expected = stopped
    (folder / ".gdkernels-0123.tmp").write_bytes(b"half")
    assert end(folder) == expected
    assert not list(folder.glob(".gdkernels-*"))


# ---- folders


def test_a_folder_is_for_one_run(tmp_path):
    first = Folder(tmp_path / "c", 3)
    with pytest.raises(gd.FileError, match=rf"another run \(process {os.getpid()}\) keeps its checkpoints in"):
        fit(trainer(), tmp_path / "c")
    first.close()
    fit(trainer(), tmp_path / "c", epochs=1)


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # a lock that nobody has any more is let go of by Python
def test_an_interrupt_leaves_the_folder_to_the_next_run(tmp_path):
    def holds():
        Folder(tmp_path / "c", 3).close()

    holds()
    for where, raised in interrupted_everywhere(holds):
        assert isinstance(raised, KeyboardInterrupt), where
        (tmp_path / "c" / ".gdkernels-0123.tmp").write_bytes(b"half")  # which it may be about to remove
        Folder(tmp_path / "c", 3).close()


def test_a_folder_that_cannot_be_made(tmp_path):
    with pytest.raises(gd.FileError, match="cannot keep checkpoints in .*: no such file or directory"):
        fit(trainer(), tmp_path / "there" / "is" / "none")
    (tmp_path / "file").touch()
    with pytest.raises(gd.FileError, match="cannot keep checkpoints in .*; choose another folder"):
        fit(trainer(), tmp_path / "file")


@pytest.mark.parametrize(
    "number", [errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL], ids=lambda n: errno.errorcode[n]
)
def test_a_file_system_without_locks(tmp_path, monkeypatch, caplog, number):
    def flock(descriptor, operation):
        raise OSError(number, os.strerror(number))

    expected = told(made := trainer(), fit(made, tmp_path / "whole"))
    monkeypatch.setattr(fcntl, "flock", flock)
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / ".gdkernels-0123.tmp").write_bytes(b"of a run that may be writing")
    made = trainer()
    assert told(made, fit(made, tmp_path / "c")) == expected
    assert "is on a file system without locks, so nothing keeps a second run out of it" in caplog.text
    assert (tmp_path / "c" / ".gdkernels-0123.tmp").exists()


def test_links_lead_nowhere(stopped, tmp_path):
    """A link in the folder of checkpoints is refused, or replaced; what it leads to stays as it is."""
    folder, expected = stopped
    precious = tmp_path / "precious"
    precious.write_text("42 things\n")
    (folder / "lock").unlink()
    (folder / "lock").symlink_to(precious)
    with pytest.raises(gd.FileError, match=r"lock is a symbolic link, where .* a lock: remove it, or choose another"):
        end(folder)
    (folder / "lock").unlink()
    os.link(precious, folder / "lock")
    with pytest.raises(gd.FileError, match="lock holds something else"):
        end(folder)
    (folder / "lock").unlink()
    last = int(files(folder)[-1].stem[5:])
    links = [folder / f"step-{step:012d}.safetensors" for step in range(last + 1, last + 20)]
    for link in links:
        link.symlink_to(precious)
    assert end(folder) == expected
    assert any(not link.is_symlink() for link in links)  # one of them was the name of the next checkpoint
    assert precious.read_text() == "42 things\n"


def test_a_subfolder_that_is_a_link_is_refused(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "start-2").symlink_to(tmp_path / "elsewhere")
    X = np.ones((8, 2), np.float32)
    with pytest.raises(gd.FileError, match="start-2: it is a symbolic link to another place"):
        gd.MLP([2, 1], seed=0, backend="numpy").fit(X, X[:, :1], epochs=2, starts=2, checkpoint=tmp_path / "c")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_folder_that_is_a_link_is_what_was_asked_for(tmp_path):
    (tmp_path / "scratch").mkdir()
    (tmp_path / "c").symlink_to(tmp_path / "scratch")
    fit(trainer(), tmp_path / "c", epochs=1)
    assert files(tmp_path / "scratch")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(tmp_path):
    (tmp_path / "c").mkdir(mode=0o555)
    with pytest.raises(gd.FileError, match="permission denied"):
        fit(trainer(), tmp_path / "c")


def test_a_full_disk_does_not_end_training(stopped, monkeypatch, caplog):
    """Some writes fail, the others are there; what comes out is the same."""
    folder, expected = stopped
    fsync, calls = os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) % 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    assert end(folder) == expected
    assert "no checkpoint was written, training goes on" in caplog.text
    assert "no space left on device; free some space" in caplog.text
    assert not list(folder.glob(".gdkernels-*"))
    for path in files(folder):
        assert gd.files.read_model(path)


# ---- signals


@pytest.mark.usefixtures("signals_heard")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_writes_a_checkpoint_and_stops(tmp_path, number):
    def send(epoch):
        if epoch.number == 2:
            os.kill(os.getpid(), number)

    expected = told(made := trainer(), fit(made, tmp_path / "whole"))
    before = signal.getsignal(number)
    with pytest.raises(gd.Interrupted, match=f"{number.name} ended training; its checkpoint is in") as caught:
        fit(trainer(), tmp_path / "c", every="1h", callbacks=[send])
    assert caught.value.signal == number
    assert signal.getsignal(number) == before
    assert [p.stem for p in files(tmp_path / "c")] == ["step-000000000034"]
    assert end(tmp_path / "c") == expected


@pytest.mark.usefixtures("signals_heard")
def test_a_signal_that_comes_too_late_to_stop_training_is_not_lost(tmp_path):
    def send(epoch):
        if epoch.number == 5:
            os.kill(os.getpid(), signal.SIGINT)

    expected = told(made := trainer(), fit(made, tmp_path / "whole"))
    with pytest.raises(KeyboardInterrupt) as caught:
        fit(trainer(), tmp_path / "c", every="1h", callbacks=[send])
    assert not isinstance(caught.value, gd.Interrupted)
    assert end(tmp_path / "c") == expected  # what was done is kept


@pytest.mark.usefixtures("signals_heard")
def test_an_interrupt_at_any_moment_leaves_every_signal_its_handler():
    numbers = signal.SIGINT, signal.SIGTERM, signal.SIGHUP

    def listens():
        with StopSignals():
            pass

    before = [signal.getsignal(number) for number in numbers]
    for where, raised in interrupted_everywhere(listens):
        assert isinstance(raised, KeyboardInterrupt), where
        if "at the begin of StopSignals.__exit__" in where:  # which nothing can come before
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)
        assert [signal.getsignal(number) for number in numbers] == before, where


def test_a_signal_that_is_ignored_stays_ignored(tmp_path):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup
    try:
        history = fit(
            trainer(), tmp_path / "c", every="1h", callbacks=[lambda epoch: os.kill(os.getpid(), signal.SIGHUP)]
        )
        assert len(history.epochs) == 5
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


HANDLED_IN_C = """
import ctypes, os, signal, sys
sys.path.insert(0, sys.argv[1])
from training import fit, trainer
libc = ctypes.CDLL(None)
heard = []
handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(heard.append)
libc.signal.restype = ctypes.c_void_p
libc.signal(signal.SIGTERM, handler)
history = fit(trainer(), sys.argv[2], epochs=2)
os.kill(os.getpid(), signal.SIGTERM)
print(len(history.epochs), len(heard))
"""


def test_a_handler_in_c_stays_where_it_is(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", HANDLED_IN_C, PROGRAM.parent, tmp_path / "c"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "2 1\n", done.stderr


def test_a_handler_that_python_does_not_know(tmp_path, monkeypatch):
    real = signal.signal

    def unknown(number, handler):
        found = real(number, handler)
        return None if number == signal.SIGTERM and callable(handler) else found

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(signal, "signal", unknown)
    assert len(fit(trainer(), tmp_path / "c", epochs=2).epochs) == 2
    monkeypatch.undo()
    assert signal.getsignal(signal.SIGTERM) == before == signal.SIG_DFL


@pytest.mark.usefixtures("signals_heard")
def test_a_second_interrupt_stops_at_once(tmp_path):
    def send(epoch):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)
        raise AssertionError("it went on")

    with pytest.raises(KeyboardInterrupt) as caught:
        fit(trainer(), tmp_path / "c", every="1h", callbacks=[send])
    assert not isinstance(caught.value, gd.Interrupted)
    assert not files(tmp_path / "c")


def test_in_another_thread_signals_stay_with_the_main_one(tmp_path):
    before = signal.getsignal(signal.SIGINT)
    seen = []
    thread = threading.Thread(
        target=lambda: fit(
            trainer(), tmp_path / "c", callbacks=[lambda e: seen.append(signal.getsignal(signal.SIGINT)) and False]
        )
    )
    thread.start()
    thread.join()
    assert seen == [before] * 5
    assert files(tmp_path / "c")


# ---- killed


def killed_again_and_again(folder, backend, kills, draw):
    """Kill a run uniformly over its time, or within its next write, until it was killed so often; return its end."""
    in_writes = 0
    undisturbed = process(folder.with_name("whole"), "3 steps", backend=backend)
    expected, error = undisturbed.communicate()
    assert undisturbed.returncode == 0, error
    for k in range(kills):
        run = process(folder, "3 steps", backend=backend)
        if k % 3 == 0:
            in_a_write(run, folder)
        else:
            until = time.monotonic() + draw.uniform(0, 1.0)
            while run.poll() is None and time.monotonic() < until:
                time.sleep(0.001)
        run.kill()
        run.communicate()
        in_writes += any(folder.glob(".gdkernels-*"))
        with contextlib.suppress(IndexError):  # so that there is always something left to do
            if files(folder)[-1].stem >= "step-000000000500":
                for path in files(folder)[1:]:
                    path.unlink()
    run = process(folder, "3 steps", backend=backend)
    out, error = run.communicate()
    assert run.returncode == 0, error
    assert out == expected
    return in_writes


def test_killed(tmp_path):
    assert killed_again_and_again(tmp_path / "c", "numpy", 6, np.random.default_rng(0)) >= 1


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_killed_two_hundred_times(tmp_path, backend):
    assert killed_again_and_again(tmp_path / "c", backend, 200, np.random.default_rng(1)) >= 50


@pytest.mark.parametrize("faults", [4, pytest.param(80, marks=pytest.mark.slow)])
@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_random_faults(backend, faults):
    pytest.importorskip(backend)
    injected, ended, lost = soak(backend, faults=faults)
    assert sum(injected.values()) == faults
    assert ended > 0 or faults < 80
    assert not lost
